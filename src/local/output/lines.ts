/**
 * Events as lines: one JSON object each, or a sentence each for a person. Nothing is left out of the JSON; of the sentences, those
 * that say the same as before.
 */
import type { LocalEvent, MetricReport, Replicas } from '../events.ts';

export function jsonLine(event: LocalEvent): string {
  return JSON.stringify(event);
}

/** A number as short as it can be told: at most three decimals. */
function figure(value: number): string {
  return String(Math.round(value * 1000) / 1000);
}

/** `27/5` where the target is for each replica, `27/5 in all` where it is not, and the error where there is no value. */
export function metricText({ metric, value, target, targetType, error, fallback }: MetricReport): string {
  const name = `${metric} `;
  if (value === undefined) return `${name}unknown (${error ?? 'no answer'})`;
  const note = fallback === true ? ` (fallback: ${error ?? ''})` : '';
  return `${name}${figure(value)}/${figure(target)}${targetType === 'Value' ? ' in all' : ''}${note}`;
}

export function replicasText({ replicas, ready, stopping }: Replicas): string {
  const parts = [`${ready}/${replicas} ready`, ...(stopping > 0 ? [`${stopping} stopping`] : [])];
  return parts.join(', ');
}

/** The sentence of an event, without its time and object. */
export function sentence(event: LocalEvent): string {
  switch (event.event) {
    case 'serving':
      return `serving on ${event.grpc}: ${event.objects.join(', ')}`;
    case 'end':
      return `end: ${event.reason}`;
    case 'notice':
      return `${event.level}: ${event.message}`;
    case 'poll':
      return `poll: ${event.metrics.map(metricText).join('; ')}: ${event.reason} (${replicasText(event)})`;
    case 'push':
      return `push: ${event.active ? 'active' : 'inactive'}: ${event.reason} (${replicasText(event)})`;
    case 'hpa':
      return `hpa: ${event.metrics.map(metricText).join('; ')}: ${event.desired} replicas: ${event.reason} (${replicasText(event)})`;
    case 'scale':
      return `scale: ${event.from} → ${event.desired} by ${event.by}: ${event.reason}`;
    case 'worker':
      return `worker ${event.pod}: ${workerText(event)} (${replicasText(event)})`;
  }
}

function workerText(event: LocalEvent & { readonly event: 'worker' }): string {
  switch (event.state) {
    case 'started':
      return `started, process ${event.pid}`;
    case 'stopping':
      return 'told to stop';
    case 'killed':
      return 'killed: its grace period is over';
    case 'waiting':
      return `starts again in ${event.restartMs / 1000} s`;
    case 'stopped':
    case 'exited': {
      const how = event.signal ?? (event.exitCode === null ? '' : `exit code ${event.exitCode}`);
      const trouble = event.state === 'exited' && event.trouble !== undefined ? event.trouble : how;
      return `${event.state === 'stopped' ? 'stopped' : 'ended by itself'}${trouble === '' ? '' : `: ${trouble}`}`;
    }
  }
}

/** Writes a line an event, but no poll or sync that says what the one before said. */
export function lineWriter(write: (line: string) => void): (event: LocalEvent) => void {
  const last = new Map<string, string>();
  return (event) => {
    const text = sentence(event);
    if (event.event === 'poll' || event.event === 'hpa') {
      const key = `${event.event} ${event.object ?? ''}`;
      const shown = text.replace(/another \d+ s/, '');
      if (last.get(key) === shown) return;
      last.set(key, shown);
    }
    write(`${event.time.slice(11, 23)} ${event.object === undefined ? '' : `${event.object} `}${text}`);
  };
}
