/** One trigger's explanation in words. All text goes in as text, never as markup. */
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

/**
 * An estimate by the HPA's rule for `AverageValue`, KEDA's default, from this trigger alone: the object's other triggers, its bounds and
 * the HPA's behaviour are not known here. Activity decides only between none and some.
 */
function replicasFor(value, target, active) {
  const count = number(Math.max(1, Math.ceil(Number((value / target).toPrecision(12)))));
  if (active) return `about ${count} by AverageValue, within the object's bounds`;
  return `none by itself; about ${count} by AverageValue where another trigger or minReplicaCount keeps some`;
}

/** @returns {Node[]} */
export function detailOf({ row, explanation }) {
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
            ['Replicas', replicasFor(reading.value, metric.target, reading.active)],
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
  return parts;
}
