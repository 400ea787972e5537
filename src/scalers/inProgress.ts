/**
 * What a trigger makes of the messages that workers hold, for all scalers that know of them.
 */
import { key } from './metadata.ts';
import { oneOf } from './values.ts';

export const IN_PROGRESS = ['count', 'active', 'ignore'] as const;
export type InProgress = (typeof IN_PROGRESS)[number];

/** The key, with what its broker calls such messages. */
export function inProgressKey(messages: string) {
  return key(
    `What ${messages} do. \`count\`, which holds without this key: they are a part of the value. \`active\`: they only keep the trigger active, as a ScaledJob with strategy \`accurate\` or \`eager\` needs. \`ignore\`: neither, so that a worker may be stopped over its last message.`,
    oneOf(IN_PROGRESS),
  );
}
