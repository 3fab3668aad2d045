"""GGUF version 3: writing, and reading back what this package writes; encoders for the tensor types it uses."""
import struct

import numpy as np

U32, I32, F32, BOOL, STR, ARR = 4, 5, 6, 7, 8, 9
TYPE = {'F32': 0, 'F16': 1, 'Q8_0': 8, 'TQ2_0': 35, 'I2_S': 36}
NAME = {v: k for k, v in TYPE.items()}
ALIGN = 32


def q8_0(w):
    """Blocks of 32 with one float16 scale; the codes are chosen for the scale as stored."""
    b = w.astype(np.float32).reshape(-1, 32)
    d = (np.abs(b).max(1, keepdims=True) / 127).astype(np.float16)
    f = d.astype(np.float32)
    q = np.clip(np.rint(np.divide(b, f, out=np.zeros_like(b), where=f > 0)), -127, 127).astype(np.int8)
    return np.concatenate([d.view(np.uint8), q.view(np.uint8)], 1).tobytes()


def tq2_0(codes, scale):
    """codes in {-1,0,1}; per 256: 64 bytes of four 2-bit fields (32 elements apart), then the float16 scale."""
    t = (codes.reshape(-1, 2, 4, 32) + 1).astype(np.uint8)
    q = (t[:, :, 0] | t[:, :, 1] << 2 | t[:, :, 2] << 4 | t[:, :, 3] << 6).reshape(len(t), 64)
    d = np.full((len(t), 1), scale, np.float16).view(np.uint8)
    return np.concatenate([q, d], 1).tobytes()


def decode(blob, kind, count):
    if kind == 'F32':
        return np.frombuffer(blob, '<f4', count).copy()
    if kind == 'F16':
        return np.frombuffer(blob, '<f2', count).astype(np.float32)
    if kind == 'Q8_0':
        b = np.frombuffer(blob, np.uint8, count // 32 * 34).reshape(-1, 34)
        return (b[:, :2].copy().view('<f2').astype(np.float32) * b[:, 2:].copy().view(np.int8)).reshape(-1)
    if kind == 'TQ2_0':
        b = np.frombuffer(blob, np.uint8, count // 256 * 66).reshape(-1, 66)
        q = b[:, :64].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3
        return ((q.reshape(-1, 256).astype(np.float32) - 1) * b[:, 64:].copy().view('<f2').astype(np.float32)).reshape(-1)
    raise ValueError(kind)


class Writer:
    def __init__(self, arch):
        self.keys, self.tensors = [], []
        self.key('general.architecture', STR, arch)

    def key(self, name, kind, value, element=None):
        self.keys.append(self.text(name) + struct.pack('<I', kind) + self.value(kind, value, element))

    @staticmethod
    def text(s):
        b = s.encode('utf-8')
        return struct.pack('<Q', len(b)) + b

    def value(self, kind, v, element):
        if kind == STR:
            return self.text(v)
        if kind == ARR:
            return struct.pack('<IQ', element, len(v)) + b''.join(self.value(element, x, None) for x in v)
        return struct.pack({U32: '<I', I32: '<i', F32: '<f', BOOL: '<?'}[kind], v)

    def tensor(self, name, w, kind='F32', scale=None):
        """w: numpy, slowest axis first. TQ2_0 takes codes and their scale."""
        w = np.ascontiguousarray(w)
        blob = {'F32': lambda: w.astype('<f4').tobytes(), 'F16': lambda: w.astype('<f2').tobytes(),
                'Q8_0': lambda: q8_0(w), 'TQ2_0': lambda: tq2_0(w, scale)}[kind]()
        self.tensors.append((name, w.shape[::-1], kind, blob))

    def write(self, path):
        head = [struct.pack('<4sIQQ', b'GGUF', 3, len(self.tensors), len(self.keys))] + self.keys
        at = 0
        for name, ne, kind, blob in self.tensors:
            head.append(self.text(name) + struct.pack('<I%dQIQ' % len(ne), len(ne), *ne, TYPE[kind], at))
            at += -(-len(blob) // ALIGN) * ALIGN
        head = b''.join(head)
        with open(path, 'wb') as f:
            f.write(head + bytes(-len(head) % ALIGN))
            for _, _, _, blob in self.tensors:
                f.write(blob + bytes(-len(blob) % ALIGN))


class Reader:
    def __init__(self, path):
        with open(path, 'rb') as f:
            self.data = f.read()
        self.at = 0
        magic, version, tensors, keys = self.take('<4sIQQ')
        if magic != b'GGUF' or version != 3:
            raise ValueError('not a GGUF 3 file: ' + path)
        self.keys, self.info = {}, {}
        for _ in range(keys):
            name = self.text()
            self.keys[name] = self.value(self.take('<I')[0])
        for _ in range(tensors):
            name = self.text()
            ne = self.take('<%dQ' % self.take('<I')[0])
            self.info[name] = (ne, *self.take('<IQ'))
        self.base = -(-self.at // ALIGN) * ALIGN

    def take(self, fmt):
        v = struct.unpack_from(fmt, self.data, self.at)
        self.at += struct.calcsize(fmt)
        return v

    def text(self):
        n, = self.take('<Q')
        self.at += n
        return self.data[self.at - n:self.at].decode('utf-8')

    def value(self, kind):
        if kind == STR:
            return self.text()
        if kind == ARR:
            e, n = self.take('<IQ')
            return [self.value(e) for _ in range(n)]
        return self.take({U32: '<I', I32: '<i', F32: '<f', BOOL: '<?'}[kind])[0]

    def tensor(self, name):
        ne, kind, at = self.info[name]
        count = int(np.prod(ne))
        return decode(self.data[self.base + at:], NAME[kind], count).reshape(ne[::-1])
