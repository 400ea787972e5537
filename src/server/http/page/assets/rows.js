/**
 * The list as a window of few elements over many rows: what is not seen is not there. Keyboard: arrows, Page Up and Down, Home, End,
 * Enter.
 */

const SPARE = 6;

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
    for (const name of ['state', 'name', 'metric', 'value', 'depth', 'held', 'wakes', 'error']) {
      const cell = document.createElement('div');
      cell.setAttribute('role', 'gridcell');
      cell.className = `c-${name}`;
      row.append(cell);
    }
    body.append(row);
    return row;
  }

  function fill(row, index) {
    const data = rows[index];
    row.className = `row ${data.state}${data.error?.now ? ' failing' : ''}`;
    row.style.transform = `translateY(${index * rowHeight}px)`;
    row.tabIndex = index === current ? 0 : -1;
    row.dataset.index = String(index);
    row.setAttribute('aria-rowindex', String(index + 2));
    const texts = cellsOf(data);
    for (let column = 0; column < texts.length; column++) {
      const cell = row.children[column];
      if (cell.textContent !== texts[column]) cell.textContent = texts[column];
    }
  }

  function draw() {
    scheduled = false;
    const first = Math.max(0, Math.floor(scroller.scrollTop / rowHeight) - SPARE);
    const count = Math.min(rows.length - first, Math.ceil(scroller.clientHeight / rowHeight) + 2 * SPARE);
    while (pool.length < count) pool.push(make());
    // An element stays with its row as long as that is seen, so that focus does not jump.
    const wanted = new Set();
    for (let index = first; index < first + count; index++) wanted.add(index);
    const free = [];
    for (const row of pool) {
      const index = row.hidden ? -1 : Number(row.dataset.index);
      if (wanted.delete(index)) fill(row, index);
      else free.push(row);
    }
    for (const index of wanted) {
      const row = free.pop();
      row.hidden = false;
      row.style.display = '';
      fill(row, index);
    }
    for (const row of free) {
      row.hidden = true;
      row.style.display = 'none';
    }
  }

  function schedule() {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(draw);
  }

  function go(index) {
    current = Math.max(0, Math.min(rows.length - 1, index));
    const top = current * rowHeight;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top + rowHeight > scroller.scrollTop + scroller.clientHeight)
      scroller.scrollTop = top + rowHeight - scroller.clientHeight;
    draw();
    pool.find((row) => !row.hidden && Number(row.dataset.index) === current)?.focus({ preventScroll: true });
  }

  scroller.addEventListener('scroll', schedule, { passive: true });
  addEventListener('resize', () => {
    rowHeight = height();
    body.style.height = `${rows.length * rowHeight}px`;
    schedule();
  });
  body.addEventListener('click', (event) => {
    const row = event.target.closest('.row');
    if (row === null) return;
    current = Number(row.dataset.index);
    open(rows[current].id);
  });
  body.addEventListener('focusin', (event) => {
    const row = event.target.closest('.row');
    if (row !== null) current = Number(row.dataset.index);
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
      schedule();
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
  return [
    STATE[row.state],
    `${row.namespace}/${row.name}`,
    row.metric,
    `${number(row.value)} / ${number(row.target)}`,
    number(row.depth),
    number(row.held),
    String(row.wakes),
    error,
  ];
}
