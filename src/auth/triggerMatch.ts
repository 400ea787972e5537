/**
 * Finds which trigger of an object KEDA speaks of, by the metadata it forwards.
 *
 * KEDA forwards metadata verbatim, except that `<key>FromEnv` carries the variable's value in place of its name and is dropped where
 * that is empty.
 */
import { FROM_ENV, isExternal } from '../keda.ts';
import type { Trigger } from './objects.ts';

/** A trigger that can be the one meant. */
export interface Candidate {
  readonly trigger: Trigger;
  readonly index: number;
  /** What the caller says of variables: under `key`, `variable` has `value`. */
  readonly claims: readonly { readonly key: string; readonly variable: string; readonly value: string }[];
}

/** Triggers of which `forwarded` can be the metadata, as far as that can be told without the environment. */
export function candidatesAmong(triggers: readonly Trigger[], forwarded: Readonly<Record<string, string>>): Candidate[] {
  return triggers.flatMap((trigger, index) => {
    if (!isExternal(trigger.type) || differences(trigger.metadata, forwarded).length > 0) return [];
    const claims = Object.entries(forwarded)
      .filter(([key]) => key.endsWith(FROM_ENV))
      .map(([key, value]) => ({ key, variable: trigger.metadata[key] ?? '', value }));
    return [{ trigger, index, claims }];
  });
}

/** For a person: how each external trigger differs from what was forwarded; keys only, as values may be secret. */
export function describeMismatch(triggers: readonly Trigger[], forwarded: Readonly<Record<string, string>>): string {
  const lines = triggers.flatMap((trigger, index) =>
    isExternal(trigger.type)
      ? [`trigger ${index} differs in ${differences(trigger.metadata, forwarded).slice(0, 5).join(', ')}`]
      : [],
  );
  return lines.length === 0 ? 'it has no trigger of type external or external-push' : lines.slice(0, 5).join('; ');
}

function differences(written: Readonly<Record<string, string>>, forwarded: Readonly<Record<string, string>>): string[] {
  const differing = Object.entries(written).filter(([key, value]) =>
    key.endsWith(FROM_ENV) ? false : !Object.hasOwn(forwarded, key) || forwarded[key] !== value,
  );
  const added = Object.keys(forwarded).filter((key) => !Object.hasOwn(written, key));
  return [...differing.map(([key]) => key), ...added.map((key) => key.slice(0, 60))];
}
