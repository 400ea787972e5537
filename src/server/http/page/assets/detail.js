/** One trigger: the explanation in words and the course of the last hour. All text goes in as text, never as markup. */
import { ago, number } from './rows.js';

function element(tag, text, ...children) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== '') made.textContent = text;
  made.append(...children);
  return made;
}

function pairs(entries) {
  return element('dl', '', ...entries.flatMap(([term, text]) => [element('dt', term), element('dd', text)]));
}

function figures(measures) {
  const words = Object.entries(measures).map(([name, figure]) => `${name} ${number(figure)}`);
  return words.length === 0 ? 'none' : words.join(', ');
}

/** @returns {Node[]} */
export function detailOf({ row, explanation, course }) {
  const { reading, trouble, metric } = explanation;
  const parts = [];
  parts.push(
    pairs([
      ['State', row.state],
      ['Metric', `${metric.name}, target ${number(metric.target)}`],
      ...(reading === undefined
        ? [['To KEDA', trouble === undefined ? 'nothing yet' : 'an error, on which it scales nothing as a rule']]
        : [
            ['To KEDA', `${number(reading.value)}, ${reading.active ? 'active' : 'not active'}`],
            ['Read by', `${reading.reader}, ${ago(row.at)} ago`],
            ['Figures', figures(reading.measures)],
          ]),
      ['Wakes', `${row.wakes} since this scaler knows the trigger`],
    ]),
  );
  if (trouble !== undefined) {
    const since = row.error === undefined ? '' : `For ${ago(row.error.since)}: `;
    const box = element(
      'div',
      '',
      element('strong', trouble.code),
      element('p', `${since}${trouble.message}`),
      element('p', trouble.remedy),
    );
    box.className = 'trouble';
    parts.push(element('h3', reading === undefined ? 'Why it is unknown' : 'What has failed since'), box);
  }
  if (reading !== undefined) {
    parts.push(
      element('h3', 'Why'),
      element('ol', '', ...[...reading.because, ...reading.notes].map((line) => element('li', line))),
    );
    if (reading.queues.length > 0) {
      const lines = reading.queues.map(({ queue, measures }) =>
        element('tr', '', element('td', queue), element('td', figures(measures))),
      );
      const head = element('thead', '', element('tr', '', element('th', 'Queue'), element('th', 'Figures')));
      const more =
        reading.queueCount > reading.queues.length
          ? [element('p', `and ${reading.queueCount - reading.queues.length} more`)]
          : [];
      parts.push(element('h3', 'Queues'), element('table', '', head, element('tbody', '', ...lines)), ...more);
    }
  }
  parts.push(element('h3', 'The last hour'), chart(course, metric.target));
  return parts;
}

/** The chart is drawn at the size at which it is seen, so that its words stay legible on a phone. */
const chartWidth = () => Math.max(280, Math.min(968, document.documentElement.clientWidth - 32));
const HEIGHT = 200;
const LEFT = 48;
const BOTTOM = 24;

function svg(tag, attributes, text) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  if (text !== undefined) made.textContent = text;
  return made;
}

function chart(course, target) {
  const width = chartWidth();
  const values = course.map(({ value }) => value).filter((value) => value !== null);
  const figure = element('figure');
  if (values.length === 0) return element('p', 'Nothing has been read yet.');
  const top = Math.max(target, ...values, ...course.map(({ waiting, held }) => Math.max(waiting ?? 0, held ?? 0))) * 1.1;
  const x = (index) => LEFT + (index / (course.length - 1)) * (width - LEFT - 8);
  const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - BOTTOM - 10);
  const last = values.at(-1);
  const label = `Metric over the last hour: lowest ${number(Math.min(...values))}, highest ${number(Math.max(...values))}, last ${number(last)}; target ${number(target)}`;
  const image = svg('svg', { viewBox: `0 0 ${width} ${HEIGHT}`, role: 'img', 'aria-label': label });
  for (const value of [0, top / 2, top]) image.append(svg('text', { x: 4, y: y(value) + 4 }, number(value)));
  for (const [index, text] of [
    [0, '1 h ago'],
    [course.length / 2, '30 min'],
    [course.length - 1, 'now'],
  ])
    image.append(
      svg(
        'text',
        { x: x(index), y: HEIGHT - 6, 'text-anchor': index === 0 ? 'start' : index === course.length - 1 ? 'end' : 'middle' },
        text,
      ),
    );
  image.append(svg('line', { class: 'target-line', x1: LEFT, x2: width - 8, y1: y(target), y2: y(target) }));
  image.append(
    svg('path', { class: 'waiting-area', d: bars(course, x, y) }),
    svg('path', { class: 'held-line', d: path(course, 'held', x, y) }),
    svg('path', { class: 'value-line', d: path(course, 'value', x, y) }),
  );
  figure.append(image, element('figcaption', `${label}. Bars: waiting; solid: metric; dashed: held by workers; dotted: target.`));
  return figure;
}

function bars(course, x, y) {
  const half = (x(1) - x(0)) / 2;
  return course
    .map(({ waiting }, index) =>
      waiting === null || waiting === 0
        ? ''
        : `M${(x(index) - half).toFixed(1)} ${y(0)}V${y(waiting).toFixed(1)}H${(x(index) + half).toFixed(1)}V${y(0)}Z`,
    )
    .join('');
}

/** Steps in which nothing is known leave a gap, unless it is one alone: polls come as often as steps end. A single step is a short dash. */
function path(course, key, x, y) {
  let drawing = false;
  return course
    .map((step, index) => {
      const value = step[key];
      if (value === null) {
        drawing &&= (course[index + 1]?.[key] ?? null) !== null;
        return '';
      }
      const point = `${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
      const command = drawing ? `L${point}` : `M${point}h2`;
      drawing = true;
      return command;
    })
    .join('');
}
