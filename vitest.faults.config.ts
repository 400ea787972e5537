import { defineConfig } from 'vitest/config';

/** The long fault matrices: whole clusters that are killed, stopped and starved. One file at a time, as each wants the machine. */
export default defineConfig({
  test: {
    include: ['test/faults/**/*.test.ts'],
    reporters: ['default', './test/bed/countReporter.ts'],
    pool: 'forks',
    maxWorkers: 1,
    testTimeout: 600_000,
    hookTimeout: 180_000,
    passWithNoTests: true,
  },
});
