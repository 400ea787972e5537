/**
 * The list as a window of few elements over many rows: what is not seen is not there. Keyboard: arrows, Page Up and Down, Home, End,
 * Enter.
 */

import { drawCurve, makeCurve } from './curve.js';

const SPARE = 6;
const CELLS = ['state', 'name', 'metric', 'value', 'depth', 'held', 'curve', 'wakes', 'error'];

/** @param {{ scroller: HTMLElement, body: HTMLElement, grid: HTMLElement, open: (id: string) => void }} parts */
export function createRows({ scroller, body, grid, open }) {
  /** @type {readonly object[]} */
  let rows = [];
  /** @type {HTMLElement[]} */
  const pool = [];
  let current = 0;
  let scheduled = false;

  const height = () => parseFloat(getComputedStyle(document.documentElement).getPropertyValue('--row'));
  let rowHeight = height();

  function make() {
    const row = document.createElement('div');
    row.setAttribute('role', 'row');
    for (const name of CELLS) {
      const cell = document.createElement('div');
      cell.setAttribute('role', 'gridcell');
      cell.className = `c-${name}`;
      if (name === 'curve') cell.append(makeCurve());
      // A text node of its own: changing its data costs less than replacing it.
      else cell.append('');
      row.append(cell);
    }
    row.hidden = true;
    // Says -1 without an attribute too, but can then not be focused.
    row.tabIndex = -1;
    body.append(row);
    return row;
  }

  function fill(row, index) {
    const data = rows[index];
    set(row, 'className', `row ${data.state}${data.error?.now ? ' failing' : ''}`);
    if (row.at !== index * rowHeight) {
      row.at = index * rowHeight;
      row.style.transform = `translateY(${row.at}px)`;
    }
    if (row.index !== index) {
      row.index = index;
      row.setAttribute('aria-rowindex', String(index + 2));
    }
    set(row, 'tabIndex', index === current ? 0 : -1);
    set(row, 'hidden', false);
    const texts = cellsOf(data);
    for (let column = 0; column < CELLS.length; column++) {
      const cell = row.children[column];
      if (CELLS[column] === 'curve') {
        drawCurve(cell.firstChild, data.curve);
        const label = data.curve === undefined ? 'nothing known' : `up to ${number(data.curve.highest)} in the last hour`;
        if (cell.ariaLabel !== label) cell.ariaLabel = label;
      } else set(cell.firstChild, 'data', texts[CELLS[column]]);
    }
  }

  /** `anew`: also rows that stay where they are, as their figures may have changed. */
  function draw(anew) {
    const seen = Math.ceil(scroller.clientHeight / rowHeight) + 2 * SPARE;
    while (pool.length < seen) pool.push(make());
    const first = Math.max(0, Math.min(Math.floor(scroller.scrollTop / rowHeight) - SPARE, rows.length - pool.length));
    // An element stays with its row as long as that is seen, so that focus does not jump.
    for (let index = first; index < first + pool.length; index++) {
      const row = pool[index % pool.length];
      if (index >= rows.length) set(row, 'hidden', true);
      else if (anew || row.hidden || row.index !== index) fill(row, index);
    }
  }

  let stale = false;
  function schedule(anew) {
    stale ||= anew;
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(() => {
      scheduled = false;
      const all = stale;
      stale = false;
      draw(all);
    });
  }

  function go(index) {
    current = Math.max(0, Math.min(rows.length - 1, index));
    const top = current * rowHeight;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top + rowHeight > scroller.scrollTop + scroller.clientHeight)
      scroller.scrollTop = top + rowHeight - scroller.clientHeight;
    draw(true);
    if (rows.length > 0) pool[current % pool.length].focus({ preventScroll: true });
  }

  scroller.addEventListener('scroll', () => schedule(false), { passive: true });
  addEventListener('resize', () => {
    rowHeight = height();
    body.style.height = `${rows.length * rowHeight}px`;
    schedule(true);
  });
  body.addEventListener('click', (event) => {
    const row = event.target.closest('.row');
    if (row === null) return;
    current = row.index;
    open(rows[current].id);
  });
  body.addEventListener('focusin', (event) => {
    const row = event.target.closest('.row');
    if (row !== null) current = row.index;
  });
  body.addEventListener('keydown', (event) => {
    const page = Math.max(1, Math.floor(scroller.clientHeight / rowHeight) - 1);
    const to = {
      ArrowDown: current + 1,
      ArrowUp: current - 1,
      PageDown: current + page,
      PageUp: current - page,
      Home: 0,
      End: rows.length - 1,
    };
    if (event.key in to) {
      event.preventDefault();
      go(to[event.key]);
    } else if (event.key === 'Enter') open(rows[current].id);
  });

  return {
    show(next) {
      rows = next;
      current = Math.min(current, Math.max(0, rows.length - 1));
      grid.setAttribute('aria-rowcount', String(rows.length + 1));
      body.style.height = `${rows.length * rowHeight}px`;
      schedule(true);
    },
    focus: () => go(current),
  };
}

const STATE = { active: '● active', idle: '○ idle', unknown: '▲ unknown', new: '· not read' };

export function number(value) {
  if (value === undefined || value === null) return '–';
  return String(Math.round(value * 100) / 100);
}

export function ago(at, now = Date.now()) {
  const seconds = Math.max(0, Math.round((now - at) / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

function cellsOf(row) {
  const error =
    row.error === undefined
      ? ''
      : `${row.error.code} ${row.error.now ? 'for' : 'was'} ${ago(row.error.since)}${row.error.now ? '' : ' ago'}`;
  return {
    state: STATE[row.state],
    name: `${row.namespace}/${row.name}`,
    metric: row.metric,
    value: `${number(row.value)} / ${number(row.target)}`,
    depth: number(row.depth),
    held: number(row.held),
    wakes: String(row.wakes),
    error,
  };
}

/** Writing what is there already would still cost the browser a look. */
function set(target, property, value) {
  if (target[property] !== value) target[property] = value;
}
