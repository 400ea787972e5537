/**
 * What KEDA does around the triggers: replica bounds, cooldown, fallback, formulas, names; and settings that are valid and yet
 * surprise in production.
 */
import { DEFAULT_MAX_REPLICAS, DEFAULT_MIN_REPLICAS, DEFAULT_POLLING_INTERVAL_SECONDS } from '../../keda.ts';
import { nearestName } from '../../scalers/metadata.ts';
import { isRecord, recordIn, textOf, type YamlObject } from '../../yaml/objects.ts';
import { labelOf, reportOn, type Finding, type Report } from './finding.ts';
import type { Inventory } from './inventory.ts';
import { workloadOf } from './authentication.ts';
import type { TriggerLocation } from './triggerLocation.ts';
import { didYouMean } from './structure.ts';

/** A poll this rare is what people notice as "late". */
const LONG_POLLING_SECONDS = 120;

export function checkScaling(
  object: YamlObject,
  locations: readonly TriggerLocation[],
  inventory: Inventory,
  report: Report,
): void {
  if (!isRecord(object.data['spec'])) return;
  const { spec } = object;
  checkReplicas(spec, report);
  checkTarget(object, spec, inventory, report);
  checkTriggerNames(spec, locations, report);
  checkPaused(object, report);
  if (object.kind === 'ScaledObject') checkFallback(spec, report);
  const polling = numberIn(spec, 'pollingInterval') ?? DEFAULT_POLLING_INTERVAL_SECONDS;
  if (polling > LONG_POLLING_SECONDS && minReplicas(object) === 0 && locations.some(({ type }) => type !== 'external-push'))
    report('polling-long', ['spec', 'pollingInterval'], `work can wait ${polling} s for the first worker`, {
      fix: 'external-push, or a shorter interval',
    });
}

/** The least number of replicas. */
export function minReplicas({ spec }: YamlObject): number {
  return numberIn(spec, 'minReplicaCount') ?? DEFAULT_MIN_REPLICAS;
}

export function numberIn(record: YamlObject['spec'], key: string): number | undefined {
  const value = record[key];
  return typeof value === 'number' ? value : undefined;
}

function checkReplicas(spec: YamlObject['spec'], report: Report): void {
  const least = numberIn(spec, 'minReplicaCount') ?? DEFAULT_MIN_REPLICAS;
  const most = numberIn(spec, 'maxReplicaCount') ?? DEFAULT_MAX_REPLICAS;
  const idle = numberIn(spec, 'idleReplicaCount');
  if (least > most) {
    const written =
      spec['minReplicaCount'] !== undefined && spec['maxReplicaCount'] === undefined ? 'minReplicaCount' : 'maxReplicaCount';
    report('replica-bounds', ['spec', written], `minReplicaCount ${least} is above maxReplicaCount ${most}`);
  }
  if (idle === undefined) return;
  if (idle >= least)
    report('replica-bounds', ['spec', 'idleReplicaCount'], `idleReplicaCount ${idle} must be below minReplicaCount ${least}`);
  else if (idle > 0)
    report(
      'idle-not-zero',
      ['spec', 'idleReplicaCount'],
      'only 0 works: the HPA would bring any other number back to minReplicaCount',
      { fix: '0' },
    );
}

function checkTarget(object: YamlObject, spec: YamlObject['spec'], inventory: Inventory, report: Report): void {
  const target = spec['scaleTargetRef'];
  if (!isRecord(target) || typeof target['name'] !== 'string' || workloadOf(object, inventory) !== undefined) return;
  const kind = textOf(target['kind'], 'Deployment');
  const nearest = nearestName(target['name'], inventory.names(kind, object.namespace));
  if (nearest !== undefined) {
    report(
      'target-missing',
      ['spec', 'scaleTargetRef', 'name'],
      `no ${kind} ${target['name']} is in the files${didYouMean(nearest)}`,
      { fix: nearest },
    );
    return;
  }
  const other = inventory.objects.find(
    (each) => each.name === target['name'] && (each.kind === 'Deployment' || each.kind === 'StatefulSet') && each !== object,
  );
  if (other === undefined) return;
  const why =
    other.kind === kind ? `it is in namespace ${other.namespace}, this object in ${object.namespace}` : `it is a ${other.kind}`;
  report(
    'target-missing',
    ['spec', 'scaleTargetRef', other.kind === kind ? 'name' : 'kind'],
    `no ${kind} ${target['name']} is here: ${why}`,
  );
}

function checkTriggerNames(spec: YamlObject['spec'], locations: readonly TriggerLocation[], report: Report): void {
  const triggers: unknown[] = Array.isArray(spec['triggers']) ? spec['triggers'] : [];
  const names = new Map<string, number>();
  for (const [index, trigger] of triggers.entries()) {
    const name = isRecord(trigger) ? trigger['name'] : undefined;
    if (typeof name !== 'string' || name === '') continue;
    const first = names.get(name);
    if (first !== undefined)
      report('trigger-name', ['spec', 'triggers', index, 'name'], `trigger ${first} is called ${name} too`);
    names.set(name, first ?? index);
  }
  const modifiers = recordIn(recordIn(spec, 'advanced'), 'scalingModifiers');
  const { formula } = modifiers;
  const path = ['spec', 'advanced', 'scalingModifiers'];
  if (typeof formula === 'string' && formula !== '') {
    if (typeof modifiers['target'] !== 'string' || modifiers['target'] === '')
      report('bad-field', path, 'scalingModifiers with a formula must have a target', { part: 'key' });
    const calls = new Set([...formula.matchAll(/([A-Za-z_]\w*)\s*\(/g)].map(([, word]) => word));
    const words = new Set([...formula.replaceAll(/"[^"]*"|'[^']*'/g, '').matchAll(/\b[A-Za-z_]\w*\b/g)].map(([word]) => word));
    for (const word of words) {
      if (names.has(word) || calls.has(word) || /^(?:true|false|nil|and|or|not|in|let|if|else)$/.test(word)) continue;
      const nearest = nearestName(word, [...names.keys()]);
      report(
        'trigger-name',
        [...path, 'formula'],
        `no trigger is called ${word}${names.size === 0 ? ': give the triggers names' : didYouMean(nearest)}`,
        { fix: nearest },
      );
    }
  }
  const seen = new Map<string, number>();
  for (const { index, type, metadata, path: at, authentication } of locations) {
    const same = JSON.stringify([type.startsWith('external') ? 'external' : type, Object.entries(metadata).sort()]);
    const first = seen.get(same);
    seen.set(same, first ?? index);
    if (first === undefined || locations[first]?.index === undefined) continue;
    const other = locations.find((location) => location.index === first)?.authentication;
    const why =
      other?.name === authentication?.name && other?.kind === authentication?.kind
        ? 'KEDA refuses metrics of the same name'
        : 'they differ in authentication only, which no scaler is told: it cannot tell them apart';
    report('duplicate-trigger', [...at, 'metadata'], `trigger ${first} has the same metadata: ${why}`, { part: 'key' });
  }
}

function checkFallback(spec: YamlObject['spec'], report: Report): void {
  const fallback = recordIn(spec, 'fallback');
  const replicas = numberIn(fallback, 'replicas');
  const most = numberIn(spec, 'maxReplicaCount') ?? DEFAULT_MAX_REPLICAS;
  const path = ['spec', 'fallback', 'replicas'];
  if (replicas === 0)
    report('fallback-risk', path, 'with 0 replicas an unknown queue counts as an empty one', {
      fix: 'leave fallback out: then KEDA scales nothing on an error, as a rule',
    });
  else if (replicas !== undefined && replicas > most)
    report('fallback-risk', path, `${replicas} is above maxReplicaCount ${most}`);
  const threshold = numberIn(fallback, 'failureThreshold');
  if (threshold !== undefined && threshold < 3)
    report(
      'fallback-risk',
      ['spec', 'fallback', 'failureThreshold'],
      `${threshold} failures pass within seconds: KEDA’s poll and the HPA both count`,
      { fix: '3 or more' },
    );
}

function checkPaused({ data }: YamlObject, report: Report): void {
  const annotations = recordIn(recordIn(data, 'metadata'), 'annotations');
  for (const name of [
    'autoscaling.keda.sh/paused',
    'autoscaling.keda.sh/paused-replicas',
    'autoscaling.keda.sh/paused-scale-in',
  ]) {
    const value = annotations[name];
    if (value !== undefined && value !== 'false')
      report('paused', ['metadata', 'annotations', name], `${name} holds this object’s scaling`, { part: 'key' });
  }
}

/** Two objects that scale one workload; KEDA's webhook refuses the second. */
export function checkSharedTargets(objects: readonly YamlObject[], findings: Finding[]): void {
  const owners = new Map<string, YamlObject>();
  for (const object of objects) {
    const target = recordIn(object.spec, 'scaleTargetRef');
    if (typeof target['name'] !== 'string') continue;
    if (object.kind !== 'ScaledObject' && object.kind !== 'HorizontalPodAutoscaler') continue;
    const key = `${textOf(target['kind'], 'Deployment')} ${object.namespace}/${target['name']}`;
    const first = owners.get(key);
    owners.set(key, first ?? object);
    if (first === undefined || labelOf(first) === labelOf(object)) continue;
    const [keda, other] = object.kind === 'ScaledObject' ? [object, first] : [first, object];
    if (keda.kind !== 'ScaledObject') continue;
    reportOn(keda, findings)(
      'target-shared',
      ['spec', 'scaleTargetRef', 'name'],
      `${labelOf(other)} (${other.start.file}:${other.start.line}) scales ${key} too`,
    );
  }
}
