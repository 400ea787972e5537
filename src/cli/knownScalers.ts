/**
 * The scalers as `check` and `convert` know them: those of the registry, each with the advice from its folder.
 */
import { FROM_ENV } from '../keda.ts';
import type { Advice, BuiltInPlaces } from '../scalers/advice.ts';
import type { Scaler } from '../scalers/contract.ts';
import type { KeyTable } from '../scalers/metadata.ts';
import { SCALERS } from '../scalers/registry.ts';

export interface KnownScaler {
  readonly scaler: Scaler;
  readonly advice: Advice;
}

export function loadKnownScalers(scalers: readonly Scaler[] = SCALERS): Promise<readonly KnownScaler[]> {
  return Promise.all(
    scalers.map(async (scaler) => ({ scaler, advice: (await scaler.advice?.()) ?? adviceByTable(scaler.keys) })),
  );
}

/** For a scaler without advice: a scaler takes the keys of KEDA's scaler of that name, so its own table stands for that one's. */
function adviceByTable(keys: KeyTable): Advice {
  return {
    builtInKeys: Object.fromEntries(
      Object.entries(keys).flatMap(([name, { aliases, places }]) => {
        const letters = (['metadata', 'authentication', 'environment'] as const).map((place, index) =>
          places.includes(place) ? 'MAE'.charAt(index) : '',
        );
        return [name, ...aliases].map((spelling) => [spelling, letters.join('') as BuiltInPlaces]);
      }),
    ),
    required: Object.keys(keys).filter((name) => keys[name]?.required),
  };
}

/** Whether KEDA's own scaler reads that name from metadata. */
export function isBuiltInKey({ builtInKeys }: Advice, name: string): boolean {
  if (Object.hasOwn(builtInKeys, name)) return builtInKeys[name]?.includes('M') === true;
  return name.endsWith(FROM_ENV) && builtInKeys[name.slice(0, -FROM_ENV.length)]?.includes('E') === true;
}
