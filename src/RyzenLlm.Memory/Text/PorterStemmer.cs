namespace RyzenLlm.Memory.Text;

/// <summary>
/// The suffix stripper of M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980, with the two
/// departures its author published later (<c>-abli</c> becomes <c>-bli</c>, <c>-logi</c> becomes <c>-log</c>).
/// </summary>
public static class PorterStemmer
{
    private static readonly (string Suffix, string Replacement)[] Step2 =
    [
        ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"), ("bli", "ble"),
        ("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous"), ("ization", "ize"), ("ation", "ate"),
        ("ator", "ate"), ("alism", "al"), ("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous"),
        ("aliti", "al"), ("iviti", "ive"), ("biliti", "ble"), ("logi", "log"),
    ];

    private static readonly (string Suffix, string Replacement)[] Step3 =
    [
        ("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", ""),
    ];

    private static readonly string[] Step4 =
    [
        "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate",
        "iti", "ous", "ive", "ize",
    ];

    /// <summary>Stems one lower-case word. Words of one or two letters, and words with anything but a-z, come back as they are.</summary>
    public static string Stem(string word)
    {
        if (word.Length <= 2)
        {
            return word;
        }

        foreach (char c in word)
        {
            if (c is < 'a' or > 'z')
            {
                return word;
            }
        }

        Span<char> buffer = word.Length + 1 <= 64 ? stackalloc char[64] : new char[word.Length + 1];
        word.CopyTo(buffer);
        var stem = new Buffer(buffer, word.Length);
        stem.Plural();
        stem.PastAndGerund();
        stem.FinalY();
        stem.Replace(Step2);
        stem.Replace(Step3);
        stem.Drop(Step4);
        stem.FinalE();
        return new string(stem.Text);
    }

    private ref struct Buffer(Span<char> chars, int length)
    {
        private readonly Span<char> _chars = chars;
        private int _length = length;

        public readonly ReadOnlySpan<char> Text => _chars[.._length];

        public void Plural()
        {
            if (Ends("sses") || Ends("ies"))
            {
                _length -= 2;
            }
            else if (Ends("s") && !Ends("ss"))
            {
                _length--;
            }
        }

        public void PastAndGerund()
        {
            if (Ends("eed"))
            {
                if (Measure(_length - 3) > 0)
                {
                    _length--;
                }

                return;
            }

            int suffix = Ends("ed") ? 2 : Ends("ing") ? 3 : 0;
            if (suffix == 0 || !HasVowel(_length - suffix))
            {
                return;
            }

            _length -= suffix;
            if (Ends("at") || Ends("bl") || Ends("iz"))
            {
                _chars[_length++] = 'e';
            }
            else if (DoubleConsonant() && _chars[_length - 1] is not ('l' or 's' or 'z'))
            {
                _length--;
            }
            else if (Measure(_length) == 1 && ConsonantVowelConsonant(_length))
            {
                _chars[_length++] = 'e';
            }
        }

        public readonly void FinalY()
        {
            if (Ends("y") && HasVowel(_length - 1))
            {
                _chars[_length - 1] = 'i';
            }
        }

        public void Replace((string Suffix, string Replacement)[] rules)
        {
            foreach (var (suffix, replacement) in rules)
            {
                if (!Ends(suffix))
                {
                    continue;
                }

                if (Measure(_length - suffix.Length) > 0)
                {
                    _length -= suffix.Length;
                    replacement.CopyTo(_chars[_length..]);
                    _length += replacement.Length;
                }

                return;
            }
        }

        public void Drop(string[] suffixes)
        {
            string longest = "";
            foreach (string suffix in suffixes)
            {
                if (suffix.Length > longest.Length && Ends(suffix))
                {
                    longest = suffix;
                }
            }

            int rest = _length - longest.Length;
            if (longest.Length == 0 || Measure(rest) <= 1)
            {
                return;
            }

            if (longest != "ion" || (rest > 0 && _chars[rest - 1] is 's' or 't'))
            {
                _length = rest;
            }
        }

        public void FinalE()
        {
            if (Ends("e"))
            {
                int measure = Measure(_length - 1);
                if (measure > 1 || (measure == 1 && !ConsonantVowelConsonant(_length - 1)))
                {
                    _length--;
                }
            }

            if (Ends("ll") && Measure(_length) > 1)
            {
                _length--;
            }
        }

        private readonly bool Ends(string suffix) => Text.EndsWith(suffix);

        private readonly bool Consonant(int i) => _chars[i] switch
        {
            'a' or 'e' or 'i' or 'o' or 'u' => false,
            'y' => i == 0 || !Consonant(i - 1),
            _ => true,
        };

        /// <summary>m in the paper's [C](VC)^m[V]: how many vowel-consonant changes the first <paramref name="end"/> letters hold.</summary>
        private readonly int Measure(int end)
        {
            int count = 0;
            bool vowel = false;
            for (int i = 0; i < end; i++)
            {
                if (!Consonant(i))
                {
                    vowel = true;
                }
                else if (vowel)
                {
                    count++;
                    vowel = false;
                }
            }

            return count;
        }

        private readonly bool HasVowel(int end)
        {
            for (int i = 0; i < end; i++)
            {
                if (!Consonant(i))
                {
                    return true;
                }
            }

            return false;
        }

        private readonly bool DoubleConsonant() =>
            _length >= 2 && _chars[_length - 1] == _chars[_length - 2] && Consonant(_length - 1);

        private readonly bool ConsonantVowelConsonant(int end) =>
            end >= 3 && Consonant(end - 1) && !Consonant(end - 2) && Consonant(end - 3)
            && _chars[end - 1] is not ('w' or 'x' or 'y');
    }
}
