/**
 * Finds the faults of a set of manifest files; pure: it reads no file and asks nobody.
 */
import { nearestName, SCALER_KEY } from '../../scalers/metadata.ts';
import type { KnownScaler } from '../knownScalers.ts';
import type { YamlFile, YamlObject } from '../../yaml/objects.ts';
import { withoutAllowed } from './allowed.ts';
import { checkAuthentication, checkSourceContainer } from './authentication.ts';
import { checkBuiltIn } from './builtIn.ts';
import { reportOn, RULES, type Finding } from './finding.ts';
import { isExternal, isResource } from '../../keda.ts';
import { checkCron } from './cron.ts';
import { checkFormula } from './formula.ts';
import { takeInventory, type Inventory } from './inventory.ts';
import { checkPlaceholders, withoutConsequences } from './placeholders.ts';
import { checkScalerAddress } from './scalerAddress.ts';
import { checkExternalTrigger, isForThisProgram } from './externalTrigger.ts';
import { checkRisks } from './risks.ts';
import { checkScaling, checkSharedTargets } from './scaling.ts';
import { triggerLocations, type TriggerLocation } from './triggerLocation.ts';
import { checkDuplicates, checkStructure, didYouMean, isKeda } from './structure.ts';
import { checkResourceTrigger } from './resourceTrigger.ts';
import { OTHER_TRIGGER_TYPES, typeOfPage } from './triggerTypes.ts';

export interface CheckResult {
  /** In the order of the files and of the places in them. */
  readonly findings: readonly Finding[];
  /** How many objects of KEDA's, and how many of their triggers, were looked at. */
  readonly objects: number;
  readonly triggers: number;
}

export function checkFiles(files: readonly YamlFile[], scalers: readonly KnownScaler[]): CheckResult {
  const findings: Finding[] = [];
  for (const file of files) checkSyntax(file, findings);
  const objects = files.flatMap((file) => file.objects);
  const inventory = takeInventory(objects);
  let triggers = 0;
  for (const object of objects) {
    checkStructure(object, findings);
    if (!isKeda(object)) continue;
    if (object.kind.endsWith('TriggerAuthentication')) checkAuthentication(object, inventory, findings);
    else if (object.kind === 'ScaledObject' || object.kind === 'ScaledJob')
      triggers += checkScaled(object, inventory, scalers, findings);
  }
  checkDuplicates(objects, findings);
  checkSharedTargets(objects, findings);
  for (const object of objects) if (isKeda(object)) checkPlaceholders(object, scalers, findings);
  const order = new Map(files.map(({ file }, index) => [file, index]));
  const reported = withoutAllowed(files, withoutEchoes(withoutConsequences(findings))).sort(
    (left, right) =>
      (order.get(left.position.file) ?? 0) - (order.get(right.position.file) ?? 0) ||
      left.position.line - right.position.line ||
      left.position.column - right.position.column,
  );
  return { findings: reported, objects: objects.filter(isKeda).length, triggers };
}

function checkSyntax({ faults, isTemplate }: YamlFile, findings: Finding[]): void {
  for (const { position, message } of faults) {
    if (isTemplate === true) {
      const { severity } = RULES['template-not-rendered'];
      const fix = 'helm template CHART | queue-scaler check -';
      findings.push({ rule: 'template-not-rendered', severity, position, message, fix });
      continue;
    }
    const fix = /tab/i.test(message) ? 'indent with spaces' : /unique/i.test(message) ? 'keep one of the two' : undefined;
    findings.push({ rule: 'yaml-syntax', severity: 'error', position, message, ...(fix !== undefined && { fix }) });
  }
}

function checkScaled(object: YamlObject, inventory: Inventory, scalers: readonly KnownScaler[], findings: Finding[]): number {
  const report = reportOn(object, findings);
  const locations = triggerLocations(object, inventory, scalers, report);
  for (const location of locations) checkTrigger(location);
  checkScaling(object, locations, inventory, report);
  checkFormula(object, locations, report);
  checkSourceContainer(object, inventory, report);
  return locations.length;
}

function checkTrigger(location: TriggerLocation): void {
  const { type, path, metricType, object, report, scalers } = location;
  if (isResource(type)) {
    checkResourceTrigger(location);
    return;
  }
  if (type === 'cron') checkCron(location);
  if (metricType === 'Utilization')
    report('metric-type', [...path, 'metricType'], 'Utilization is for cpu and memory triggers only', { fix: 'AverageValue' });
  else if (metricType !== '' && object.kind === 'ScaledJob')
    report('metric-type', [...path, 'metricType'], 'a ScaledJob has no metricType', { part: 'key' });
  if (isExternal(type)) {
    checkScalerAddress(location);
    if (!isForThisProgram(location)) {
      report('foreign-scaler', [...path, 'type'], 'an external trigger of another scaler, as it has no key scaler');
      return;
    }
    const trigger = checkExternalTrigger(location);
    if (trigger !== undefined) checkRisks(location, trigger);
    return;
  }
  const known = scalers.find(({ scaler }) => scaler.type === type);
  if (known !== undefined) {
    checkBuiltIn(location, known);
    if (location.metadata[SCALER_KEY] !== undefined || location.metadata['scalerAddress'] !== undefined)
      report('bad-value', [...path, 'type'], 'for this scaler the type must be external-push', { fix: 'external-push' });
    return;
  }
  if (type === '' || OTHER_TRIGGER_TYPES.includes(type)) return;
  const types = [...scalers.map(({ scaler }) => scaler.type), ...OTHER_TRIGGER_TYPES];
  const nearest = typeOfPage(type, scalers) ?? nearestName(type.replaceAll('_', '-'), types);
  report(
    'unknown-trigger-type',
    [...path, 'type'],
    nearest === undefined
      ? `KEDA 2.20 has no trigger of type ${JSON.stringify(type)}`
      : `KEDA has no trigger of type ${JSON.stringify(type)}${didYouMean(nearest)}`,
    { fix: nearest, severity: nearest === undefined ? 'warning' : 'error' },
  );
  if (location.metadata['scalerAddress'] !== undefined) {
    checkScalerAddress(location);
    if (isForThisProgram(location)) checkExternalTrigger(location);
  }
}

/** Reports a finding once where a schema and a rule both made it. */
function withoutEchoes(findings: readonly Finding[]): Finding[] {
  const seen = new Set<string>();
  return findings.filter(({ rule, position, message }) => {
    const key = `${rule} ${position.file}:${position.line}:${position.column} ${message}`;
    return !seen.has(key) && seen.add(key);
  });
}
