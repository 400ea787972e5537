/**
 * What KEDA does around the triggers: replica bounds, cooldown, fallback, formulas, names; and settings that are valid and yet
 * surprise in production.
 */
import {
  BOOLEAN,
  DEFAULT_MAX_REPLICAS,
  DEFAULT_MIN_REPLICAS,
  DEFAULT_POLLING_INTERVAL_SECONDS,
  isResource,
  isTrue,
} from '../../keda.ts';
import { nearestName } from '../../scalers/metadata.ts';
import { isRecord, recordIn, textOf, type YamlObject } from '../../yaml/objects.ts';
import { labelOf, reportOn, type Finding, type Report } from './finding.ts';
import { recordsOf, type Inventory } from './inventory.ts';
import { formulaOf, minReplicas, numberIn } from '../scaledBy.ts';
import { workloadOf } from './authentication.ts';
import type { TriggerLocation } from './triggerLocation.ts';
import { didYouMean } from './structure.ts';

/** A poll this rare is what people notice as "late". */
const LONG_POLLING_SECONDS = 120;
const STRATEGIES = ['default', 'custom', 'accurate', 'eager'] as const;

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
  checkTriggerNames(spec, report);
  checkDuplicateTriggers(locations, report);
  checkAnnotations(object, report);
  checkCached(spec, report);
  if (object.kind === 'ScaledObject') {
    checkFallback(spec, report);
    checkResourcesAlone(spec, report);
  } else checkStrategy(spec, report);
  const polling = numberIn(spec, 'pollingInterval') ?? DEFAULT_POLLING_INTERVAL_SECONDS;
  if (polling > LONG_POLLING_SECONDS && minReplicas(object) === 0 && locations.some(({ type }) => type !== 'external-push'))
    report('polling-long', ['spec', 'pollingInterval'], `work can wait ${polling} s for the first worker`, {
      fix: 'external-push, or a shorter interval',
    });
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

function checkTriggerNames(spec: YamlObject['spec'], report: Report): void {
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
}

/** KEDA takes them, as the index of a trigger is a part of its metric's name; the HPA goes by the higher of two, which are equal. */
function checkDuplicateTriggers(locations: readonly TriggerLocation[], report: Report): void {
  const seen = new Map<string, number>();
  for (const { index, type, metadata, path: at, authentication } of locations) {
    const isExternal = type.startsWith('external');
    const same = JSON.stringify([isExternal ? 'external' : type, Object.entries(metadata).sort()]);
    const first = seen.get(same);
    seen.set(same, first ?? index);
    if (first === undefined) continue;
    const other = locations.find((location) => location.index === first)?.authentication;
    const differs = other?.name !== authentication?.name || other?.kind !== authentication?.kind;
    if (differs && !isExternal) continue;
    report(
      'duplicate-trigger',
      [...at, 'metadata'],
      differs
        ? `trigger ${first} has the same metadata: they differ in authentication only, which no scaler is told, so it cannot tell them apart`
        : `trigger ${first} has the same metadata: one of the two has no effect`,
      { part: 'key', severity: differs ? 'error' : 'warning' },
    );
  }
}

function checkFallback(spec: YamlObject['spec'], report: Report): void {
  if (spec['fallback'] === undefined) return;
  const fallback = recordIn(spec, 'fallback');
  const modifiers = formulaOf(spec);
  const averages = recordsOf(spec['triggers']).some(
    ({ type, metricType }) => !isResource(String(type)) && (textOf(metricType) || 'AverageValue') === 'AverageValue',
  );
  if (modifiers === undefined ? !averages : modifiers['metricType'] === 'Value')
    report(
      'fallback-risk',
      ['spec', 'fallback'],
      modifiers === undefined
        ? 'KEDA refuses a fallback without a trigger of metricType AverageValue; cpu and memory do not count'
        : 'KEDA refuses a fallback beside a formula of metricType Value',
      { part: 'key', severity: 'error' },
    );
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

/** KEDA asks the HPA's own metrics of nobody, so there is nothing to keep for it; and a schedule needs no memory. */
function checkCached(spec: YamlObject['spec'], report: Report): void {
  for (const [index, { type, useCachedMetrics }] of recordsOf(spec['triggers']).entries()) {
    if (useCachedMetrics === true && (isResource(String(type)) || type === 'cron'))
      report(
        'bad-field',
        ['spec', 'triggers', index, 'useCachedMetrics'],
        `KEDA refuses useCachedMetrics for a ${String(type)} trigger`,
        {
          part: 'key',
          fix: 'leave it out',
        },
      );
  }
}

/** The HPA cannot scale from or to zero by the use of pods that are not there. */
function checkResourcesAlone(spec: YamlObject['spec'], report: Report): void {
  const triggers = recordsOf(spec['triggers']);
  if (spec['minReplicaCount'] !== 0 || triggers.length === 0 || !triggers.every(({ type }) => isResource(String(type)))) return;
  report('replica-bounds', ['spec', 'minReplicaCount'], 'KEDA refuses minReplicaCount 0 where all triggers are cpu or memory', {
    fix: '1',
  });
}

function checkStrategy(spec: YamlObject['spec'], report: Report): void {
  const path = ['spec', 'scalingStrategy'];
  const strategy = recordIn(spec, 'scalingStrategy');
  const name = strategy['strategy'];
  const custom = ['customScalingQueueLengthDeduction', 'customScalingRunningJobPercentage'] as const;
  if (typeof name === 'string' && name !== '' && !(STRATEGIES as readonly string[]).includes(name)) {
    const nearest = nearestName(name, STRATEGIES);
    report(
      'bad-field',
      [...path, 'strategy'],
      `KEDA has no strategy ${name}, and takes default in silence${didYouMean(nearest)}`,
      {
        fix: nearest ?? `one of ${STRATEGIES.join(', ')}`,
      },
    );
  } else if (name !== 'custom') {
    for (const key of custom) {
      if (strategy[key] !== undefined)
        report('bad-field', [...path, key], `${key} has no effect without strategy custom`, { part: 'key', severity: 'warning' });
    }
  } else {
    const [deduction, percentage] = custom.map((key) => strategy[key]);
    if (deduction === undefined)
      report('bad-field', path, 'strategy custom must have customScalingQueueLengthDeduction: KEDA fails without it', {
        part: 'key',
        fix: 'customScalingQueueLengthDeduction: 0',
      });
    if (percentage === undefined || Number.isNaN(Number(percentage)) || percentage === '')
      report(
        'bad-field',
        percentage === undefined ? path : [...path, custom[1]],
        'customScalingRunningJobPercentage must be a number in quotes, such as "1.0": KEDA takes the default strategy without it',
        { part: percentage === undefined ? 'key' : 'value', fix: '"1.0"' },
      );
  }
}

const ANNOTATION_PREFIX = 'autoscaling.keda.sh/';
const PAUSING = ['paused', 'paused-replicas', 'paused-scale-in', 'paused-scale-out'];
const ANNOTATIONS = [...PAUSING, 'force-activation'];

/** Any text but KEDA's spellings of false pauses; a number of replicas must be one. */
function checkAnnotations({ kind, data }: YamlObject, report: Report): void {
  for (const [name, value] of Object.entries(recordIn(recordIn(data, 'metadata'), 'annotations'))) {
    if (!name.startsWith(ANNOTATION_PREFIX) || typeof value !== 'string') continue;
    const at = ['metadata', 'annotations', name];
    const word = name.slice(ANNOTATION_PREFIX.length);
    if (!ANNOTATIONS.includes(word)) {
      const nearest = nearestName(word, ANNOTATIONS);
      report('annotation', at, `KEDA has no annotation ${name}${didYouMean(nearest && ANNOTATION_PREFIX + nearest)}`, {
        part: 'key',
        fix: nearest && ANNOTATION_PREFIX + nearest,
      });
    } else if (kind === 'ScaledJob' && word !== 'paused')
      report('annotation', at, `${name} has no effect on a ScaledJob`, {
        part: 'key',
        fix: `${ANNOTATION_PREFIX}paused: "true"`,
      });
    else if (word === 'paused-replicas' && !/^\d{1,9}$/.test(value))
      report('annotation', at, `${name} must be a number of replicas: KEDA fails on ${JSON.stringify(value.slice(0, 60))}`, {
        fix: BOOLEAN.test(value) ? `${ANNOTATION_PREFIX}paused: "${value}"` : '"0"',
        severity: 'error',
      });
    else if (word === 'paused-replicas' || (PAUSING.includes(word) && (isTrue(value) || !BOOLEAN.test(value))))
      report('paused', at, `${name} holds this object’s scaling`, { part: 'key' });
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
