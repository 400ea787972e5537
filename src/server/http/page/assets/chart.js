/** The course of one trigger as a chart: what waited, what was held, the metric and its target. It begins where the data begins. */
import { number } from './rows.js';

const HEIGHT = 200;
const LEFT = 48;
const RIGHT = 8;
const TOP = 10;
const BOTTOM = 24;
const MINUTE_MS = 60_000;
/** Less than this of the course would be a few bars as wide as the page. */
const LEAST_MS = 3 * MINUTE_MS;
/** Ways apart of two times on the axis. */
const MINUTES = [1, 2, 5, 10, 15];
const MOST_TIMES = 6;
const MOST_VALUES = 5;

/** The chart is drawn at the size at which it is seen, so that its words stay legible on a phone. */
const chartWidth = () => Math.max(280, Math.min(968, document.documentElement.clientWidth - 32));

/** 0 and its multiples of 1, 2 or 5 times a power of ten, up to the first that is no less than `highest`. */
export function evenValues(highest) {
  const least = highest / (MOST_VALUES - 1);
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= least * (1 - 1e-9));
  const values = [0];
  while (values.at(-1) < highest * (1 - 1e-9)) values.push(Number((values.length * step).toPrecision(12)));
  return values;
}

/** Whole minutes before now, the last being 0, that divide the time evenly. */
export function evenMinutes(ms) {
  const step = MINUTES.find((each) => ms / MINUTE_MS / each <= MOST_TIMES - 1) ?? MINUTES.at(-1);
  const minutes = [];
  for (let ago = 0; ago * MINUTE_MS <= ms; ago += step) minutes.unshift(ago);
  return minutes;
}

/** The steps of the last so many minutes from the first of which anything is known, but no fewer than make a picture. */
export function stepsOf(course, minutes) {
  const last = course.at(-1)?.at ?? 0;
  const shown = course.filter(({ at }) => at > last - minutes * MINUTE_MS);
  const first = shown.find((step) => [step.value, step.waiting, step.held].some((figure) => figure !== null));
  if (first === undefined) return [];
  return shown.filter(({ at }) => at >= Math.min(first.at, last - LEAST_MS));
}

/** @returns {HTMLElement} */
export function chart(course, target, minutes) {
  const steps = stepsOf(course, minutes);
  const values = steps.map(({ value }) => value).filter((value) => value !== null);
  if (values.length === 0) return paragraph(`Nothing has been read in the last ${minutes} min.`);
  const width = chartWidth();
  const scale = evenValues(
    Math.max(target, ...steps.flatMap(({ value, waiting, held }) => [value ?? 0, waiting ?? 0, held ?? 0])),
  );
  const [from, to] = [steps[0].at, steps.at(-1).at];
  const x = (at) => LEFT + ((at - from) / (to - from)) * (width - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - (value / scale.at(-1)) * (HEIGHT - BOTTOM - TOP);

  const label = `Metric in the last ${minutes} min: lowest ${number(Math.min(...values))}, highest ${number(Math.max(...values))}, last ${number(values.at(-1))}; target ${number(target)}`;
  const image = svg('svg', { viewBox: `0 0 ${width} ${HEIGHT}`, role: 'img', 'aria-label': label });
  for (const value of scale)
    image.append(
      svg('line', { class: 'grid-line', x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
      svg('text', { class: 'y', x: LEFT - 6, y: y(value) + 4, 'text-anchor': 'end' }, number(value)),
    );
  for (const ago of evenMinutes(to - from)) {
    const at = x(to - ago * MINUTE_MS);
    const anchor = ago === 0 ? 'end' : at < LEFT + 20 ? 'start' : 'middle';
    image.append(svg('text', { class: 'x', x: at, y: HEIGHT - 6, 'text-anchor': anchor }, ago === 0 ? 'now' : `-${ago} min`));
  }
  image.append(
    svg('line', { class: 'target-line', x1: LEFT, x2: width - RIGHT, y1: y(target), y2: y(target) }),
    svg('path', { class: 'waiting-area', d: bars(steps, x, y) }),
    svg('path', { class: 'held-line', d: path(steps, 'held', x, y) }),
    svg('path', { class: 'value-line', d: path(steps, 'value', x, y) }),
  );
  const figure = document.createElement('figure');
  const caption = document.createElement('figcaption');
  caption.textContent = `${label}. Bars: waiting; solid: metric; dashed: held by workers; dotted: target.`;
  figure.append(image, caption);
  return figure;
}

function paragraph(text) {
  const made = document.createElement('p');
  made.textContent = text;
  return made;
}

function svg(tag, attributes, text) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  if (text !== undefined) made.textContent = text;
  return made;
}

function bars(steps, x, y) {
  const half = (x(steps[1].at) - x(steps[0].at)) / 2;
  return steps
    .map(({ at, waiting }, index) => {
      if (waiting === null || waiting === 0) return '';
      const [left, right] = [index === 0 ? x(at) : x(at) - half, index === steps.length - 1 ? x(at) : x(at) + half];
      return `M${left.toFixed(1)} ${y(0)}V${y(waiting).toFixed(1)}H${right.toFixed(1)}V${y(0)}Z`;
    })
    .join('');
}

/** Steps in which nothing is known leave a gap, unless it is one alone: polls come as often as steps end. A single step is a short dash. */
function path(steps, key, x, y) {
  let drawing = false;
  return steps
    .map((step, index) => {
      const value = step[key];
      if (value === null) {
        drawing &&= (steps[index + 1]?.[key] ?? null) !== null;
        return '';
      }
      const point = `${x(step.at).toFixed(1)} ${y(value).toFixed(1)}`;
      const command = drawing ? `L${point}` : `M${point}h2`;
      drawing = true;
      return command;
    })
    .join('');
}
