/**
 * KEDA's own `cron` trigger, which needs no broker: a metric that is `desiredReplicas` within a window of the clock and 1, inactive,
 * outside it. `croner` finds the next time of a schedule.
 *
 * Source: https://keda.sh/docs/latest/scalers/cron/
 */
import { Cron } from 'croner';
import type { TriggerClient } from './triggerClient.ts';

/** Of the metric, for each replica. */
export const CRON_TARGET = 1;
/** The metric outside the window. */
const OUTSIDE = 1;

export interface CronState {
  readonly active: boolean;
  readonly value: number;
  /** When the window opens or closes next. */
  readonly until: Date;
}

export interface CronWindow {
  readonly metric: string;
  at(now: Date): CronState;
}

export type CronFault = readonly [key: 'timezone' | 'start' | 'end' | 'desiredReplicas', message: string, isMissing: boolean];

/** All that KEDA would refuse, or the window. */
export function parseCron(metadata: Readonly<Record<string, string>>): CronWindow | { readonly faults: readonly CronFault[] } {
  const [timezone, start, end, replicas] = (['timezone', 'start', 'end', 'desiredReplicas'] as const).map(
    (key) => metadata[key]?.trim() ?? '',
  ) as [string, string, string, string];
  const faults: CronFault[] = [];
  for (const [key, value] of Object.entries({ timezone, start, end, desiredReplicas: replicas }))
    if (value === '') faults.push([key as CronFault[0], 'is required', true]);
  if (timezone !== '' && !isTimeZone(timezone))
    faults.push(['timezone', 'must be a name of the IANA database such as Europe/Berlin', false]);
  if (replicas !== '' && !/^\d{1,9}$/.test(replicas)) faults.push(['desiredReplicas', 'must be a whole number', false]);
  if (start !== '' && start === end) faults.push(['end', 'must differ from start', false]);
  const schedules = (['start', 'end'] as const).map((key) => {
    const text = key === 'start' ? start : end;
    if (text === '' || timezone === '' || !isTimeZone(timezone)) return undefined;
    const schedule = scheduleOf(text, timezone);
    if (typeof schedule !== 'string') return schedule;
    faults.push([key, schedule, false]);
    return undefined;
  });
  const [opens, closes] = schedules;
  if (faults.length > 0 || opens === undefined || closes === undefined) return { faults };
  const desired = Number(replicas);
  return {
    metric: `cron-${timezone.replaceAll('/', '-')}-${metricPart(start)}-${metricPart(end)}`,
    at(now) {
      const [opening, closing] = [nextOf(opens, now), nextOf(closes, now)];
      const active = closing <= opening;
      return { active, value: active ? desired : OUTSIDE, until: active ? closing : opening };
    },
  };
}

/** A trigger that answers by the clock what others ask a scaler. */
export function createCronTrigger(
  options: Pick<TriggerClient, 'index' | 'targetType' | 'useCachedMetrics'> & { readonly window: CronWindow },
): TriggerClient {
  const { window, ...rest } = options;
  return {
    ...rest,
    type: 'external',
    metrics: () => Promise.resolve({ ok: true, value: [{ name: `s${options.index}-${window.metric}`, target: CRON_TARGET }] }),
    read: () => {
      const { value, active } = window.at(new Date());
      return Promise.resolve({ ok: true, value: { value, active } });
    },
    stream: () => Promise.resolve(),
  };
}

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

/** Five fields as KEDA takes them; a text where it does not. */
function scheduleOf(text: string, timezone: string): Cron | string {
  // More than KEDA knows: aliases, last days, nearest weekdays, the second Friday.
  if (text.startsWith('@') || /(?:^|[\d\s,])[LW](?:$|[\s,])|\d[LW]|#/.test(text))
    return 'must be five fields of numbers and names, as KEDA knows no others';
  try {
    const schedule = new Cron(text, { timezone, mode: '5-part' });
    return schedule.nextRun() === null ? 'never comes' : schedule;
  } catch (thrown) {
    return `must be minute, hour, day, month and weekday: ${(thrown as Error).message.replace(/^CronPattern: /, '')}`;
  }
}

/** Each schedule that was taken comes again; were it not to, its window would stay as it is. */
function nextOf(schedule: Cron, now: Date): Date {
  return schedule.nextRun(now) ?? new Date(8.64e15);
}

function metricPart(schedule: string): string {
  return schedule.replaceAll(/\s+/g, '').replaceAll('*', 'x').replaceAll('/', 'Sl').replaceAll('?', 'Qm');
}
