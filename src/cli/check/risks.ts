/**
 * Valid settings of this program's triggers that lose work, time or sleep. Each finding says what will happen, not what would be better style.
 */
import { DEFAULT_COOLDOWN_SECONDS, isTrue } from '../../keda.ts';
import type { KnownTrigger } from './externalTrigger.ts';
import { numberIn, scaledBy } from '../scaledBy.ts';
import { keyPath, reportKeysOf, type TriggerLocation } from './triggerLocation.ts';

/** Workers are stopped and started with every message below it. */
const SHORT_COOLDOWN_SECONDS = 10;

export function checkRisks(location: TriggerLocation, known: KnownTrigger): void {
  const { metadata, value, advice } = known;
  const { metricType, object } = location;
  const by = scaledBy(object);
  checkAnyScaler(location, known, by.scalesToZero);
  advice.checkRisks?.({ metadata, value, metricType, ...by }, reportKeysOf(location));
}

function checkAnyScaler(
  location: TriggerLocation,
  { scaler, advice, metadata, value }: KnownTrigger,
  scalesToZero: boolean,
): void {
  const { report, object, type, path } = location;
  for (const [name, key] of Object.entries(scaler.keys)) {
    const spelling = [name, ...key.aliases].find((word) => Object.hasOwn(location.metadata, word));
    if (spelling === undefined) continue;
    if (key.deprecated !== undefined)
      report('deprecated', keyPath(location, spelling), `${spelling} is deprecated`, { part: 'key', fix: key.deprecated });
    const text = location.metadata[spelling] ?? '';
    const holdsPassword = key.secret && (/password|secret/i.test(name) || /:\/\/[^/\s]*:[^/\s]+@/.test(text));
    if (holdsPassword && advice.publicLogin?.test(text) !== true)
      report(
        'secret-in-manifest',
        keyPath(location, spelling),
        `${spelling} holds a password that everybody who may read this object sees`,
        { part: 'key', fix: 'a TriggerAuthentication with secretTargetRef' },
      );
  }
  if (object.kind === 'ScaledJob' && type === 'external-push')
    report('push-in-job', [...path, 'type'], 'KEDA does not push for a ScaledJob: it polls each pollingInterval', {
      fix: 'external',
    });
  else if (object.kind === 'ScaledObject' && type === 'external' && scalesToZero)
    report('push-preferred', [...path, 'type'], 'with type external the first worker waits for the next poll', {
      fix: 'external-push',
    });
  if (object.kind === 'ScaledObject' && scalesToZero) {
    const cooldown = numberIn(object.spec, 'cooldownPeriod') ?? DEFAULT_COOLDOWN_SECONDS;
    const { sureZero } = advice;
    const sure = sureZero?.seconds(value) ?? 0;
    if (sureZero !== undefined && cooldown < sure)
      report(
        'cooldown-short',
        ['spec', 'cooldownPeriod'],
        `${cooldown} s is less than the ${sure} s after which ${sureZero.broker}’s zero is sure`,
        { fix: `${Math.ceil(sure / 30) * 30} or more` },
      );
    else if (cooldown < SHORT_COOLDOWN_SECONDS)
      report(
        'cooldown-short',
        ['spec', 'cooldownPeriod'],
        `after ${cooldown} s without work the last worker is stopped: workers come and go with every message`,
        { fix: '30 or more' },
      );
  }
  const { uncheckedCertificate: unchecked } = advice;
  if (unchecked !== undefined && isTrue(metadata[unchecked]))
    report(
      'certificate-unchecked',
      keyPath(location, unchecked),
      'any certificate is taken: whoever stands between sees the password',
      { fix: 'ca in a TriggerAuthentication' },
    );
}
