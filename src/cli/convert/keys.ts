/**
 * How one trigger's keys change between KEDA's own scaler and this one: a few are called otherwise, as KEDA reads those names of an
 * external trigger for itself, and what KEDA ignored in silence is set aside.
 */
import { isTrue } from '../../keda.ts';
import { metadataNames } from '../../scalers/metadata.ts';
import { SCALERS } from '../../scalers/registry.ts';

/** What becomes of one entry of the metadata. */
export type KeyChange =
  | { readonly kind: 'keep' }
  | { readonly kind: 'change'; readonly key: string; readonly value: string | undefined; readonly why: string }
  | { readonly kind: 'aside'; readonly why: string };

const KEEP: KeyChange = { kind: 'keep' };

/** From KEDA's own scaler of that type to ours of the same name. */
export function toExternal(type: string, key: string, value: string): KeyChange {
  if (type.startsWith('redis')) {
    if (key === 'enableTLS')
      return {
        kind: 'change',
        key: 'tls',
        value: isTrue(value) ? 'enable' : 'disable',
        why: 'enableTLS is KEDA’s key for the connection to a scaler',
      };
    if (key === 'unsafeSsl')
      return {
        kind: 'change',
        key: 'insecureSkipVerify',
        value: undefined,
        why: 'unsafeSsl is KEDA’s key for the connection to a scaler',
      };
    if (key === 'listName' && /[,*?[\\]/.test(value))
      return {
        kind: 'change',
        key,
        value: value.replaceAll(/[,*?[\\]/g, String.raw`\$&`),
        why: 'a list name can be a pattern here: its special characters are escaped',
      };
  }
  const scaler = SCALERS.find((candidate) => candidate.type === type);
  if (scaler === undefined || metadataNames(scaler.keys).includes(key)) return KEEP;
  return { kind: 'aside', why: `KEDA’s ${type} scaler ignored ${key}` };
}

/** The way back. */
export function toBuiltIn(type: string, key: string, value: string, keysOfKeda: (key: string) => boolean): KeyChange {
  if (key === 'scaler' || key === 'scalerAddress') return { kind: 'aside', why: '' };
  if (type.startsWith('redis')) {
    if (key === 'tls')
      return {
        kind: 'change',
        key: 'enableTLS',
        value: value.trim() === 'enable' ? 'true' : 'false',
        why: 'KEDA’s own scaler calls it enableTLS',
      };
    if (key === 'insecureSkipVerify')
      return { kind: 'change', key: 'unsafeSsl', value: undefined, why: 'KEDA’s own scaler calls it unsafeSsl' };
    if (key === 'listName' && value.includes('\\'))
      return { kind: 'change', key, value: value.replaceAll(/\\(.)/g, '$1'), why: 'KEDA’s own scaler has no patterns' };
  }
  return keysOfKeda(key) ? KEEP : { kind: 'aside', why: `KEDA’s ${type} scaler has no key ${key}` };
}
