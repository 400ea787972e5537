/**
 * TriggerAuthentications: their own faults, and what one of them gives a trigger. A parameter's value is examined for faults and
 * never printed.
 */
import { nearestName } from '../../scalers/metadata.ts';
import { isRecord, recordIn, textOf, type Path, type YamlObject } from '../../yaml/objects.ts';
import { reportOn, type Finding, type Report } from './finding.ts';
import { containerOf, ELSEWHERE, podOf, recordsOf, type Inventory, type Lookup } from './inventory.ts';
import type { TriggerLocation } from './triggerLocation.ts';
import { didYouMean } from './structure.ts';

/** What an authentication gives, parameter by parameter. */
export interface Given {
  readonly object: YamlObject;
  readonly parameters: ReadonlyMap<string, { readonly path: Path; readonly lookup: Lookup }>;
  /** It has sources whose parameters the file does not show. */
  readonly open: boolean;
}

/** Where KEDA looks for what a ClusterTriggerAuthentication names, unless it is set otherwise. */
const CLUSTER_OBJECT_NAMESPACE = 'keda';

/** Faults of an authentication by itself. */
export function checkAuthentication(object: YamlObject, inventory: Inventory, findings: Finding[]): void {
  const report = reportOn(object, findings);
  const { spec } = object;
  const seen = new Map<string, string>();
  for (const { parameter, path } of parametersIn(spec)) {
    const earlier = seen.get(parameter);
    if (earlier !== undefined)
      report('duplicate-parameter', path, `${parameter} is given twice, first by ${earlier}; ${String(path[1])} wins`);
    seen.set(parameter, String(path[1]));
  }
  for (const [field, kind] of [
    ['secretTargetRef', 'Secret'],
    ['configMapTargetRef', 'ConfigMap'],
  ] as const) {
    for (const [index, source] of recordsOf(spec[field]).entries())
      checkReference(source, kind, ['spec', field, index], object, inventory, report);
  }
  if (typeof spec['filePath'] === 'string' && object.kind === 'TriggerAuthentication')
    report('authentication-unsupported', ['spec', 'filePath'], 'filePath is for a ClusterTriggerAuthentication only', {
      part: 'key',
    });
  for (const source of ['azureKeyVault', 'gcpSecretManager', 'awsSecretManager']) {
    if (spec[source] === undefined || !isForUs(object, inventory)) continue;
    report('authentication-unsupported', ['spec', source], `${source} is not read by this scaler`, {
      part: 'key',
      fix: 'let the External Secrets operator copy it into a Secret, and use secretTargetRef',
    });
  }
  const provider = textOf(recordIn(spec, 'podIdentity')['provider']);
  if (provider !== '' && provider !== 'none' && isForUs(object, inventory)) {
    report(
      'authentication-unsupported',
      ['spec', 'podIdentity', 'provider'],
      `podIdentity ${provider} is not supported by this scaler`,
      { fix: 'give user name and password by secretTargetRef' },
    );
  }
}

/** Whether one of the files' external triggers uses it; KEDA's own scalers read more sources than this program. */
function isForUs(authentication: YamlObject, inventory: Inventory): boolean {
  return inventory.objects.some(({ spec }) =>
    recordsOf(spec['triggers']).some(
      (trigger) =>
        String(trigger['type']).startsWith('external') && recordIn(trigger, 'authenticationRef')['name'] === authentication.name,
    ),
  );
}

function checkReference(
  source: Record<string, unknown>,
  kind: 'Secret' | 'ConfigMap',
  path: Path,
  object: YamlObject,
  inventory: Inventory,
  report: Report,
): void {
  const namespace = object.namespace === '' ? CLUSTER_OBJECT_NAMESPACE : object.namespace;
  const name = String(source['name']);
  const key = String(source['key']);
  const found = inventory.value(kind, namespace, name, key);
  if (found.state === 'absent') {
    const nearest = nearestName(key, found.names) ?? found.names[0];
    report(
      'reference-missing',
      [...path, 'key'],
      `${found.owner} has no key ${key}; it has ${found.names.join(', ') || 'none'}`,
      { fix: nearest },
    );
  } else if (found.state === 'known' && /\s$/.test(found.value) && !found.value.includes('-----')) {
    report('secret-line-end', path, `key ${key} of ${kind} ${namespace}/${name} ends in a line break or a space`, {
      fix: `make it with: printf %s VALUE | base64`,
    });
  } else if (found.state === 'elsewhere') {
    const elsewhere = inventory.objects.find((each) => each.kind === kind && each.name === name);
    if (elsewhere !== undefined && elsewhere.namespace !== namespace) {
      report(
        'reference-missing',
        [...path, 'name'],
        `${kind} ${name} is in namespace ${elsewhere.namespace}, but is looked for in ${namespace}`,
      );
      return;
    }
    const nearest = nearestName(name, inventory.names(kind, namespace));
    if (nearest !== undefined)
      report('reference-missing', [...path, 'name'], `no ${kind} ${namespace}/${name} is in the files${didYouMean(nearest)}`, {
        fix: nearest,
        severity: 'warning',
      });
  }
}

function* parametersIn(spec: YamlObject['spec']): Generator<{ parameter: string; path: Path; source: Record<string, unknown> }> {
  const lists: [Path, unknown][] = [
    ...['env', 'configMapTargetRef', 'secretTargetRef', 'boundServiceAccountToken'].map((field): [Path, unknown] => [
      ['spec', field],
      spec[field],
    ]),
    [['spec', 'hashiCorpVault', 'secrets'], recordIn(spec, 'hashiCorpVault')['secrets']],
  ];
  for (const [path, sources] of lists) {
    for (const [index, source] of recordsOf(sources).entries()) {
      const { parameter } = source;
      if (typeof parameter === 'string') yield { parameter, path: [...path, index, 'parameter'], source };
    }
  }
}

/** What the trigger's authentication gives it. `none`: it has no authentication; `elsewhere`: it is not in the files. */
export function authenticationOf(location: TriggerLocation): Given | 'none' | 'elsewhere' {
  const { authentication, object, inventory, report, path } = location;
  if (authentication === undefined) return 'none';
  const { name, kind } = authentication;
  const namespace = kind === 'ClusterTriggerAuthentication' ? '' : object.namespace;
  const found = inventory.find(kind, namespace, name);
  if (found !== undefined) return given(found, location);
  const at = [...path, 'authenticationRef', 'name'];
  const other = inventory.objects.find((each) => each.kind.endsWith('TriggerAuthentication') && each.name === name);
  if (other?.kind === 'ClusterTriggerAuthentication') {
    report('authentication-missing', at, `${name} is a ClusterTriggerAuthentication`, {
      fix: 'add kind: ClusterTriggerAuthentication',
      severity: 'error',
    });
  } else if (other !== undefined) {
    const where =
      kind === 'ClusterTriggerAuthentication'
        ? 'it is a TriggerAuthentication'
        : `it is in namespace ${other.namespace}, the trigger in ${object.namespace}`;
    report('authentication-missing', at, `no ${kind} ${name} is here: ${where}`, { severity: 'error' });
  } else {
    const nearest = nearestName(name, inventory.names(kind, namespace));
    report('authentication-missing', at, `no ${kind} ${name} is in the files${didYouMean(nearest)}`, {
      fix: nearest,
      severity: nearest === undefined ? 'note' : 'warning',
    });
  }
  return 'elsewhere';
}

function given(authentication: YamlObject, location: TriggerLocation): Given {
  const { spec } = authentication;
  const parameters = new Map<string, { path: Path; lookup: Lookup }>();
  for (const { parameter, path, source } of parametersIn(spec)) {
    parameters.set(parameter, { path, lookup: lookUp(String(path[1]), source, authentication, path, location) });
  }
  if (isRecord(spec['oauth2'])) {
    for (const parameter of ['oauthTokenURI', 'clientID', 'clientSecret', 'scopes', 'endpointParams'])
      parameters.set(parameter, { path: ['spec', 'oauth2'], lookup: ELSEWHERE });
  }
  const sources = ['filePath', 'azureKeyVault', 'gcpSecretManager', 'awsSecretManager'];
  const open = !isRecord(authentication.data['spec']) || sources.some((source) => spec[source] !== undefined);
  return { object: authentication, parameters, open };
}

function lookUp(
  field: string,
  source: Record<string, unknown>,
  authentication: YamlObject,
  path: Path,
  location: TriggerLocation,
): Lookup {
  const namespace = authentication.namespace === '' ? CLUSTER_OBJECT_NAMESPACE : authentication.namespace;
  const name = String(source['name']);
  if (field === 'secretTargetRef') return location.inventory.value('Secret', namespace, name, String(source['key']));
  if (field === 'configMapTargetRef') return location.inventory.value('ConfigMap', namespace, name, String(source['key']));
  if (field !== 'env') return ELSEWHERE;
  const container = typeof source['containerName'] === 'string' ? source['containerName'] : undefined;
  const found = variableOf(location, container, name);
  if (found.state === 'absent') {
    // Reported at the trigger, as the authentication may serve others too.
    location.report(
      'variable-missing',
      [...location.path, 'authenticationRef', 'name'],
      `${authentication.kind} ${authentication.name} (line ${authentication.positionOf(path).line}) wants variable ${name}, which ${found.owner} does not set${didYouMean(nearestName(name, found.names))}`,
    );
  }
  return found;
}

/** A variable of what the trigger's object scales. */
export function variableOf({ object, inventory }: TriggerLocation, container: string | undefined, name: string): Lookup {
  const workload = workloadOf(object, inventory);
  if (workload === undefined) return ELSEWHERE;
  return inventory.variable(podOf(workload), container, object.namespace, name);
}

/** The object that holds the pod template, if it is among the files. */
export function workloadOf(object: YamlObject, inventory: Inventory): YamlObject | undefined {
  if (object.kind === 'ScaledJob') return object;
  const target = object.spec['scaleTargetRef'];
  if (!isRecord(target)) return undefined;
  return inventory.find(textOf(target['kind'], 'Deployment'), object.namespace, String(target['name']));
}

/** The container whose environment `…FromEnv` keys are read from, by the object's own field. */
export function sourceContainerOf(object: YamlObject): string | undefined {
  const holder = object.kind === 'ScaledJob' ? object.spec : recordIn(object.spec, 'scaleTargetRef');
  const name = holder['envSourceContainerName'];
  return typeof name === 'string' && name !== '' ? name : undefined;
}

/** The named source container exists. */
export function checkSourceContainer(object: YamlObject, inventory: Inventory, report: Report): void {
  const name = sourceContainerOf(object);
  const workload = workloadOf(object, inventory);
  if (name === undefined || workload === undefined) return;
  const pod = podOf(workload);
  if (containerOf(pod, name) !== undefined) return;
  const names = recordsOf(isRecord(pod) ? pod['containers'] : undefined).map((container) => String(container['name']));
  const path =
    object.kind === 'ScaledJob' ? ['spec', 'envSourceContainerName'] : ['spec', 'scaleTargetRef', 'envSourceContainerName'];
  report('bad-field', path, `${workload.kind} ${workload.name} has no container ${name}; it has ${names.join(', ')}`, {
    fix: nearestName(name, names) ?? names[0],
  });
}
