/** The page: follows the scaler's events, and shows the list or the trigger that the address names. */
import { chart } from './chart.js';
import { detailOf } from './detail.js';
import { createRows } from './rows.js';

const byId = (id) => document.getElementById(id);
const list = byId('list');
const detail = byId('detail');
const search = byId('search');
const state = byId('state');
const range = byId('range');

/** @type {Map<string, object>} */
const triggers = new Map();
const sort = { key: 'name', down: false };
let planned = false;
let opened;
/** What the detail shows. */
let found;
let detailAsked = 0;

const rows = createRows({
  scroller: byId('scroller'),
  body: byId('rows'),
  grid: byId('grid'),
  open: (id) => {
    location.hash = `#/trigger/${encodeURIComponent(id)}`;
  },
});

/** Sorts as people count: worker-2 before worker-10. Ten thousand of these are compared faster than a collator would. */
const counted = (text) => text.replace(/\d+/g, (digits) => digits.padStart(16, '0'));

function keep(row) {
  row.order = { name: counted(`${row.namespace}/${row.name}/${row.metric}`), metric: counted(row.metric) };
  triggers.set(row.id, row);
}

const order = (left, right) => (left < right ? -1 : left > right ? 1 : 0);

function keyOf(row) {
  switch (sort.key) {
    case 'name':
    case 'metric':
      return row.order[sort.key];
    case 'value':
      return row.value === undefined ? -1 : row.value / row.target;
    case 'curve':
      return row.curve?.highest ?? -1;
    case 'error':
      return row.error === undefined ? 0 : row.error.now ? row.error.since + 1e15 : row.error.since;
    default:
      return row[sort.key] ?? -1;
  }
}

function visible() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [];
  for (const row of triggers.values()) {
    if (state.value !== '' && row.state !== state.value) continue;
    if (words.length > 0) {
      const text = `${row.namespace}/${row.name} ${row.metric} ${row.scaler} ${row.error?.code ?? ''}`.toLowerCase();
      if (!words.every((word) => text.includes(word))) continue;
    }
    found.push([keyOf(row), row]);
  }
  const way = sort.down ? -1 : 1;
  found.sort(([left, a], [right, b]) => way * order(left, right) || order(a.order.name, b.order.name) || order(a.id, b.id));
  return found.map(([, row]) => row);
}

function render() {
  planned = false;
  const shown = visible();
  rows.show(shown);
  const count = { active: 0, idle: 0, unknown: 0, new: 0 };
  for (const row of triggers.values()) count[row.state]++;
  const some = shown.length === triggers.size ? `${triggers.size}` : `${shown.length} of ${triggers.size}`;
  const text = `${some} triggers: ${count.active} active, ${count.idle} idle, ${count.unknown} unknown${count.new > 0 ? `, ${count.new} not read yet` : ''}`;
  const summary = byId('summary');
  if (summary.textContent !== text) summary.textContent = text;
  byId('empty').hidden = shown.length > 0;
}

function plan() {
  if (planned) return;
  planned = true;
  setTimeout(render, 100);
}

async function showDetail(id) {
  if (id !== opened) {
    found = undefined;
    byId('chart').replaceChildren();
  }
  opened = id;
  list.hidden = true;
  detail.hidden = false;
  const asked = ++detailAsked;
  const body = byId('detail-body');
  try {
    const response = await fetch(`/api/trigger?id=${encodeURIComponent(id)}`);
    const answer = await response.json();
    if (asked !== detailAsked) return;
    if (!response.ok) throw new Error(answer.error);
    found = answer;
    const title = `${found.row.namespace}/${found.row.name}`;
    if (byId('detail-title').textContent !== title) byId('detail-title').textContent = title;
    document.title = `${title} – keda-queue-scaler`;
    body.replaceChildren(...detailOf(found));
    drawChart();
  } catch (error) {
    if (asked !== detailAsked) return;
    body.textContent = `It cannot be shown: ${error.message}`;
    byId('chart').replaceChildren();
  }
}

function drawChart() {
  byId('chart').replaceChildren(chart(found.course, found.explanation.metric.target, Number(range.value)));
}

let refresh;
function detailChanged() {
  if (refresh !== undefined) return;
  refresh = setTimeout(() => {
    refresh = undefined;
    if (opened !== undefined) void showDetail(opened);
  }, 500);
}

function route() {
  const [, id, minutes = '60'] = /^#\/trigger\/([^?]+)(?:\?minutes=(5|15|60))?$/.exec(location.hash) ?? [];
  if (id === undefined) {
    const returning = opened !== undefined;
    opened = undefined;
    detail.hidden = true;
    list.hidden = false;
    document.title = 'Triggers – keda-queue-scaler';
    render();
    if (returning) rows.focus();
    return;
  }
  range.value = minutes;
  void showDetail(decodeURIComponent(id)).then(() => byId('detail-title').focus());
}

for (const header of document.querySelectorAll('[role=columnheader]')) {
  header.querySelector('button').addEventListener('click', () => {
    const { key } = header.dataset;
    sort.down = sort.key === key ? !sort.down : !['name', 'metric', 'state'].includes(key);
    sort.key = key;
    for (const other of document.querySelectorAll('[role=columnheader]')) other.removeAttribute('aria-sort');
    header.setAttribute('aria-sort', sort.down ? 'descending' : 'ascending');
    render();
  });
}
range.addEventListener('change', () => {
  history.replaceState(null, '', `#/trigger/${encodeURIComponent(opened)}?minutes=${range.value}`);
  if (found !== undefined) drawChart();
});
search.addEventListener('input', render);
state.addEventListener('change', render);
byId('filters').addEventListener('submit', (event) => event.preventDefault());
addEventListener('hashchange', route);
addEventListener('keydown', (event) => {
  if (event.key === '/' && !event.target.matches('input, select')) {
    event.preventDefault();
    search.focus();
  } else if (event.key === 'Escape' && opened !== undefined) location.hash = '#';
});

const events = new EventSource('/api/events');
events.addEventListener('open', () => (byId('connection').textContent = 'live'));
events.addEventListener('error', () => (byId('connection').textContent = 'connection lost, trying again …'));
events.addEventListener('all', ({ data }) => {
  triggers.clear();
  for (const row of JSON.parse(data)) keep(row);
  render();
  if (opened !== undefined) detailChanged();
});
events.addEventListener('rows', ({ data }) => {
  for (const row of JSON.parse(data)) {
    keep(row);
    if (row.id === opened) detailChanged();
  }
  plan();
});
// Ages are words that grow old by themselves.
setInterval(plan, 5000);
route();
