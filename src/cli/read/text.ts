/**
 * One reading for a person: what was read where, how it became the metric, and what KEDA and the HPA make of it.
 */
import { isExternal } from '../../keda.ts';
import { proposeReplicas } from '../../local/hpa/hpaMetrics.ts';
import { DEFAULT_TOLERANCE } from '../../local/hpa/behavior.ts';
import type { Explanation } from '../../scalers/explanation.ts';
import type { Measures } from '../../scalers/reading.ts';
import { scalerOf } from '../../scalers/registry.ts';
import { jobsToCreate } from '../jobStrategy.ts';
import type { Subject } from './subjects.ts';

const SHOWN_QUEUES = 20;

export const ONLY_IN_CLUSTER = 'only the cluster knows this, and its HPA asks without KEDA';

/** Of a `cpu` or `memory` trigger. */
export function resourceText({ label, type, metadata, targetType, minReplicas }: Subject): string {
  const alone = minReplicas === 0 ? '; it does not bring an object back from zero by itself' : '';
  return `${label}\n  metric    ${type}, target ${metadata['value'] ?? 'unknown'} (${targetType})\n  unknown   ${ONLY_IN_CLUSTER}${alone}\n`;
}

export function readingText(subject: Subject, { metric, reading, trouble }: Explanation): string {
  const prefix = subject.index === undefined ? '' : `s${subject.index}-`;
  const lines = [subject.label, `  metric    ${prefix}${metric.name}, target ${metric.target} (${subject.targetType})`];
  const unset = subject.isTargetKnown
    ? 'is not set by the scale target: KEDA leaves its key out'
    : 'is set neither here nor by a scale target that was found: set it, or give the target’s file or --kubeconfig';
  for (const variable of subject.unset) lines.push(`  variable  ${variable} ${unset}`);
  if (reading !== undefined) {
    const { value, active, because, reader, ageMs, queues, queueCount, notes, measures } = reading;
    lines.push(`  reader    ${reader}, ${Math.round(ageMs)} ms ago`);
    if (queueCount !== 1)
      lines.push(`  figures   ${figures(measures)}: ${composition(subject.metadata['operation'], queueCount)}`);
    for (const { queue, measures: own, reader: by } of queues.slice(0, SHOWN_QUEUES))
      lines.push(`  queue     ${queue}: ${figures(own)}${by === reader ? '' : ` (${by})`}`);
    if (queueCount > SHOWN_QUEUES) lines.push(`            and ${queueCount - SHOWN_QUEUES} more queues`);
    for (const step of because) lines.push(`  because   ${step}`);
    for (const note of notes) lines.push(`  note      ${note}`);
    lines.push(
      `  to KEDA   ${value}, ${active ? 'active' : 'not active'}`,
      `  replicas  ${replicasText(subject, metric.target, value, active, measures)}`,
    );
  }
  if (trouble !== undefined) {
    lines.push(
      `  ${reading === undefined ? 'unknown ' : 'since   '}  ${trouble.message} [${trouble.code}]`,
      `  remedy    ${trouble.remedy}`,
    );
    if (reading === undefined) lines.push('  to KEDA   an error, on which it scales nothing as a rule');
  }
  return `${lines.join('\n')}\n`;
}

/** How the figures of several queues became one; KEDA's word for it, or its default. */
function composition(operation: string | undefined, queueCount: number): string {
  const words: Readonly<Record<string, string>> = { avg: 'the average', max: 'the highest' };
  return `${words[operation ?? ''] ?? 'the sum'} of ${queueCount} queues`;
}

function figures(measures: Measures): string {
  const words = Object.entries(measures).map(([name, figure = NaN]) => `${name} ${Math.round(figure * 1000) / 1000}`);
  return words.length === 0 ? 'none' : words.join(', ');
}

/** What is asked for by this trigger alone, at this moment: stabilization and other triggers may hold it up. */
function replicasText(subject: Subject, target: number, value: number, active: boolean, measures: Measures): string {
  const { strategy, modifiers, minReplicas, maxReplicas, targetType, replicas } = subject;
  if (strategy !== undefined) {
    const { held } = isExternal(subject.type) ? scalerOf(subject.metadata).backlog(measures) : {};
    const state = { value, target, active, minReplicas, maxReplicas, pending: 0 };
    const jobs = (running: number): string => {
      const count = jobsToCreate(strategy, { ...state, running });
      return count === 0 ? 'no new job' : count === 1 ? '1 new job' : `${count} new jobs`;
    };
    const none = `${jobs(0)} where none runs`;
    return `strategy ${strategy.name}: ${none}${held === undefined || held === 0 ? '' : `, ${jobs(held)} where ${held} run, one for each message in progress`}`;
  }
  if (modifiers !== undefined && subject.type !== 'formula')
    return 'the formula of scalingModifiers decides, on this value among others';
  if (!active && minReplicas === 0) return 'none once the cooldown is over';
  const least = Math.max(1, minReplicas);
  const current = Math.max(least, replicas ?? least);
  const perReplica = targetType === 'Value' ? targetType : 'AverageValue';
  const counts = { wanted: current, existing: current, ready: current };
  const proposal = proposeReplicas([{ name: 'the metric', targetType: perReplica, target, result: { value } }], counts, {
    up: DEFAULT_TOLERANCE,
    down: DEFAULT_TOLERANCE,
  });
  const asked = Math.min(maxReplicas, Math.max(least, proposal.replicas ?? current));
  const bound =
    proposal.replicas === undefined || proposal.replicas === asked
      ? ''
      : `, as ${proposal.replicas} lies outside ${least} to ${maxReplicas}`;
  const from = targetType === 'Value' ? ` of ${current} now` : '';
  return `the HPA asks for ${asked}${from}: ${proposal.because}${bound}`;
}
