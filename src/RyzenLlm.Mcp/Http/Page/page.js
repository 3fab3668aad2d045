// The status page. Everything it shows goes in as text, never as markup: what is stored may be hostile.
'use strict';

const $ = id => document.getElementById(id);
const number = new Intl.NumberFormat('en');
const svg = 'http://www.w3.org/2000/svg';
let token = '';
let scopes = [];
let shown = null;      // the unit in the dialog
let writing = null;    // aborts the generation in work
let listed = 0;
let mapped = -1;       // units when the chart was drawn

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  Object.assign(made, properties);
  made.append(...children);
  return made;
}

function shape(name, attributes, text) {
  const made = document.createElementNS(svg, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

class Refused extends Error {}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(path, { ...options, headers, cache: 'no-store', credentials: 'omit' });
  if (answer.status === 401) throw new Refused();
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new Error((told.error && (told.error.message || told.error)) || `The server answered ${answer.status}.`);
  }
  return answer;
}

const read = async path => (await ask(path)).json();

function bytes(count) {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let at = 0;
  while (count >= 1000 && at < units.length - 1) { count /= 1000; at++; }
  return `${count >= 100 || at === 0 ? Math.round(count) : count.toFixed(1)} ${units[at]}`;
}

function short(count) {
  if (count >= 1e9) return `${(count / 1e9).toFixed(1)} B`;
  if (count >= 1e6) return `${(count / 1e6).toFixed(1)} M`;
  return number.format(count);
}

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

const rate = value => value >= 100 ? number.format(Math.round(value)) : value.toFixed(1);

// ---- signing in -------------------------------------------------------------------------------------------------

function showSignIn(problem = '') {
  $('content').hidden = true;
  $('sign-in').hidden = false;
  $('sign-out').hidden = true;
  $('sign-in-problem').textContent = problem;
  setHealth('signed out', '');
  $('token').focus();
}

function signOut() {
  token = '';
  sessionStorage.removeItem('token');
  if (writing) writing.abort();
  for (const id of ['units', 'models', 'map']) $(id).replaceChildren();
  $('output').textContent = '';
  mapped = -1;
  showSignIn();
}

$('sign-in-form').addEventListener('submit', async event => {
  event.preventDefault();
  token = $('token').value.trim();
  $('token').value = '';
  sessionStorage.setItem('token', token);
  await refresh(true);
});

$('sign-out').addEventListener('click', signOut);

// ---- status -----------------------------------------------------------------------------------------------------

function setHealth(text, kind) {
  $('health').textContent = text;
  $('health').className = `pill ${kind}`;
}

async function refresh(first = false) {
  let status;
  try {
    status = await read('api/status');
  } catch (problem) {
    if (problem instanceof Refused) {
      const tried = token !== '';
      token = '';
      sessionStorage.removeItem('token');
      showSignIn(tried ? 'The server does not know this token.' : '');
    } else {
      setHealth('not reachable', 'down');
    }
    return;
  }

  const entering = $('content').hidden;
  $('sign-in').hidden = true;
  $('content').hidden = false;
  $('sign-out').hidden = token === '';
  scopes = status.scopes;
  setHealth(`up ${duration(status.uptime_seconds)}`, 'up');
  $('about').textContent = `version ${status.version} · memory of ${status.tenant} · ${bytes(status.memory_bytes)} in use, ${status.processors} processors`;
  showFigures(status);
  showModels(status.models);
  $('generate-card').hidden = !scopes.includes('generate');
  $('memory-card').hidden = !status.memory;
  if (status.memory) {
    $('memory-size').textContent = `${number.format(status.memory.units)} units, ${number.format(status.memory.live)} of them current`;
    if (status.memory.units !== mapped) {
      mapped = status.memory.units;
      drawMap().catch(() => { mapped = -1; });
    }
    if (first || entering) search();
  }
}

function showFigures(status) {
  const live = status.live;
  const recent = live.per_second.slice(-5);
  $('speed').textContent = rate(recent.reduce((sum, value) => sum + value, 0) / Math.max(1, recent.length));
  $('pending').textContent = number.format(live.pending);
  $('acceptance').textContent = live.drafted ? `${Math.round(100 * live.accepted / live.drafted)} %` : '–';
  $('drafted').textContent = live.drafted ? `of ${short(live.drafted)} tokens` : 'nothing guessed ahead yet';
  $('hits').textContent = short(live.memory_hits);
  $('recalls').textContent = live.recalls ? `in ${short(live.recalls)} searches` : 'no searches yet';
  $('today').textContent = short(status.tokens_today);
  $('quota').textContent = status.tokens_per_day ? `of ${short(status.tokens_per_day)} tokens` : 'tokens, by this tenant';
  drawSpeed(live.per_second);
}

function drawSpeed(values) {
  const high = Math.max(1, ...values);
  const points = values.map((value, at) => `${at * 4} ${(46 - 44 * value / high).toFixed(1)}`);
  const line = `M${points.join('L')}`;
  $('speed-chart').replaceChildren(
    shape('path', { class: 'area', d: `${line}L${(values.length - 1) * 4} 48L0 48Z` }),
    shape('path', { class: 'line', d: line }));
}

function showModels(models) {
  $('models-card').hidden = !models;
  if (!models) return;
  $('models').replaceChildren(...models.map(model => {
    const facts = model.problem ? [model.problem] : [
      model.architecture,
      model.parameters && `${short(model.parameters)} parameters`,
      bytes(model.bytes),
      model.context_length && `context ${number.format(model.context_length)}`,
      model.vocabulary_size && `${number.format(model.vocabulary_size)} tokens known`,
    ].filter(Boolean);
    const name = element('p', { className: 'name' }, element('span', { textContent: model.name }));
    if (model.default) name.append(element('span', { className: 'tag', textContent: 'default' }));
    if (model.state !== 'idle') name.append(element('span', { className: `tag ${model.state}`, textContent: model.state }));
    const speed = model.tokens_per_second ? `${rate(model.tokens_per_second)} tokens per second` : 'not measured yet';
    return element('li', {}, name,
      element('p', { className: model.problem ? 'problem' : 'quiet', textContent: facts.join(' · ') }),
      element('p', { className: 'speed', textContent: model.problem ? '' : `${speed}${model.pending ? `, ${model.pending} in work` : ''}` }));
  }));
  if (models.length === 0) $('models').append(element('li', { textContent: 'No model found. Fetch one with: ryzenllm models pull' }));

  const names = models.filter(model => !model.problem).map(model => model.name);
  if (names.length > 1) names.push('auto');
  const select = $('model');
  if ([...select.options].map(option => option.value).join('\n') !== names.join('\n')) {
    const chosen = select.value || (models.find(model => model.default) || {}).name;
    select.replaceChildren(...names.map(name => element('option', { value: name, textContent: name, selected: name === chosen })));
  }
}

// ---- generating -------------------------------------------------------------------------------------------------

$('generate-form').addEventListener('submit', async event => {
  event.preventDefault();
  writing = new AbortController();
  $('generate').disabled = true;
  $('stop').hidden = false;
  $('output').hidden = false;
  $('output').textContent = '';
  $('output').classList.add('writing');
  $('generate-problem').textContent = '';
  $('generate-facts').textContent = 'waiting for the model';
  let written = false;
  try {
    const answer = await ask('api/generate', {
      method: 'POST',
      signal: writing.signal,
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({
        prompt: $('prompt').value,
        model: $('model').value || null,
        max_tokens: Number($('max-tokens').value),
        temperature: Number($('temperature').value),
        seed: Number($('seed').value),
      }),
    });
    for await (const [name, data] of events(answer.body)) {
      if (name === 'text') {
        if (!written) $('generate-facts').textContent = 'writing';
        written = true;
        write(data);
      } else if (name === 'done') {
        show();
        $('generate-facts').textContent = `${number.format(data.completion_tokens)} tokens, ${rate(data.tokens_per_second)} per second, ended by ${data.stop_reason}${data.model_reason ? `. Chosen: ${data.model_reason}` : ''}`;
      } else {
        throw new Error(data);
      }
    }
  } catch (problem) {
    if (writing.signal.aborted) {
      $('generate-facts').textContent = 'stopped';
    } else if (problem instanceof Refused) {
      signOut();
    } else {
      $('generate-facts').textContent = '';
      $('generate-problem').textContent = problem.message;
    }
  } finally {
    writing = null;
    $('generate').disabled = false;
    $('stop').hidden = true;
    $('output').classList.remove('writing');
    refresh();
  }
});

$('stop').addEventListener('click', () => writing && writing.abort());

// Small models write faster than a page can be laid out, so text is shown a few times a second.
let waiting = '';

function write(text) {
  if (waiting === '') {
    setTimeout(show, 100);
  }
  waiting += text;
}

function show() {
  $('output').append(waiting);
  $('output').scrollTop = $('output').scrollHeight;
  waiting = '';
}

// Server-sent events of a stream, as pairs of name and value.
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const blocks = (rest + part.value).split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split('\n').map(line => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]));
      yield [fields.event, JSON.parse(fields.data)];
    }
  }
}

// ---- memory -----------------------------------------------------------------------------------------------------

$('search-form').addEventListener('submit', event => {
  event.preventDefault();
  search();
});

$('more').addEventListener('click', () => search(listed));

async function search(skip = 0) {
  const query = $('query').value.trim();
  $('memory-problem').textContent = '';
  try {
    const page = await read(`api/memory?${new URLSearchParams({ query, skip })}`);
    if (skip === 0) {
      $('units').replaceChildren();
      listed = 0;
    }
    $('units').append(...page.units.map(unit => element('li', {}, unitButton(unit))));
    listed += page.units.length;
    $('more').hidden = !page.more;
    $('found').textContent = listed === 0
      ? (query ? 'Nothing in memory bears on this.' : 'Nothing is stored yet.')
      : (query ? `${listed} found, best first` : `${listed} shown, newest first`);
  } catch (problem) {
    if (problem instanceof Refused) signOut();
    else $('memory-problem').textContent = problem.message;
  }
}

function unitButton(unit) {
  const facts = [unit.speaker, unit.session, new Date(unit.created_at).toLocaleString(), unit.seen > 1 && `seen ${unit.seen} times`, unit.score !== undefined && `score ${unit.score}`];
  const button = element('button', { type: 'button', className: unit.valid_to ? 'past' : '' },
    element('span', { className: 'text', textContent: unit.text }),
    element('span', { className: 'quiet', textContent: facts.filter(Boolean).join(' · ') }));
  button.addEventListener('click', () => inspect(unit.id));
  return button;
}

async function inspect(id) {
  try {
    shown = await read(`api/memory/${encodeURIComponent(id)}`);
  } catch (problem) {
    $('memory-problem').textContent = problem.message;
    return;
  }
  const date = text => text && new Date(text).toLocaleString();
  const facts = {
    Id: shown.id, Speaker: shown.speaker, Session: shown.session, Scope: shown.scope, Source: shown.source, Stored: date(shown.created_at),
    'Holds from': date(shown.valid_from), 'Held until': date(shown.valid_to), Expires: date(shown.expires_at), 'Corrected by': shown.superseded_by,
    Density: shown.density, Seen: `${shown.seen} ${shown.seen === 1 ? 'time' : 'times'}`, Tier: shown.tier, Secret: shown.secret ? 'redacted or kept by policy' : '',
  };
  $('unit-text').textContent = shown.text;
  $('unit-facts').replaceChildren(...Object.entries(facts).filter(([, value]) => value !== undefined && value !== '').flatMap(
    ([name, value]) => [element('dt', { textContent: name }), element('dd', { textContent: value })]));
  $('unit-problem').textContent = '';
  $('forget').hidden = !scopes.includes('forget');
  setSure(false);
  $('unit').showModal();
}

function setSure(sure) {
  $('forget').textContent = sure ? 'Forget for good' : 'Forget';
  $('forget').classList.toggle('sure', sure);
}

$('forget').addEventListener('click', async () => {
  if (!$('forget').classList.contains('sure')) {
    setSure(true);
    return;
  }
  try {
    await ask(`api/memory/${encodeURIComponent(shown.id)}`, { method: 'DELETE' });
    $('unit').close();
    await search();
    await refresh();
  } catch (problem) {
    $('unit-problem').textContent = problem.message;
  }
});

$('unit-close').addEventListener('click', () => $('unit').close());

// Density to the right, on a root scale since few units are very dense; times seen upwards, each step doubling. A fixed scatter keeps equal points apart.
async function drawMap() {
  const points = await read('api/memory/map');
  const [left, right, top, bottom] = [48, 704, 10, 180];
  const densest = Math.max(1, ...points.map(point => point.density));
  const levels = 1 + Math.ceil(Math.log2(Math.max(1, ...points.map(point => point.seen))));
  const height = (bottom - top) / levels;
  const x = density => left + 8 + (right - left - 16) * Math.sqrt(density / densest);
  const y = level => bottom - height * (level + 0.5);
  const marks = [];
  for (let level = 0; level < levels; level++) {
    marks.push(shape('line', { class: 'axis', x1: left, x2: right, y1: bottom - level * height, y2: bottom - level * height }));
    marks.push(shape('text', { x: left - 8, y: y(level) + 4, 'text-anchor': 'end' }, `${2 ** level}×`));
  }
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    const density = densest * share * share;
    marks.push(shape('text', { x: x(density), y: bottom + 20, 'text-anchor': 'middle' }, density.toFixed(density < 10 ? 1 : 0)));
  }
  for (const point of points) {
    const spread = parseInt(point.id.slice(0, 2), 16) / 255 - 0.5;
    const dot = shape('circle', { class: point.tier, cx: x(point.density).toFixed(1), cy: (y(Math.log2(point.seen)) + 0.72 * height * spread).toFixed(1), r: 4 });
    dot.append(shape('title', {}, `${point.text} (density ${point.density}, seen ${point.seen})`));
    dot.addEventListener('click', () => inspect(point.id));
    marks.push(dot);
  }
  $('map').replaceChildren(...marks);
  $('map-caption').textContent = points.length
    ? `${number.format(points.length)} newest units: information per word to the right, times stored upwards. Choose a point to look at its unit.`
    : 'Units will appear here: information per word to the right, times stored upwards.';
}

// ---- start ------------------------------------------------------------------------------------------------------

// A link may carry the token behind #, which browsers do not send; it is taken out of the address at once.
const linked = new URLSearchParams(location.hash.slice(1)).get('token');
if (linked) {
  sessionStorage.setItem('token', linked);
  history.replaceState(null, '', location.pathname);
}
token = sessionStorage.getItem('token') || '';
refresh(true);
setInterval(() => {
  if (document.visibilityState === 'visible' && !$('content').hidden) refresh();
}, 2000);
