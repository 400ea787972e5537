import { defineConfig } from 'vitest/config';

/** Any test file, as test:brokers names them: one at a time, with the patience of the fault matrices. */
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    reporters: ['default', './test/bed/countReporter.ts'],
    pool: 'forks',
    maxWorkers: 1,
    testTimeout: 600_000,
    hookTimeout: 180_000,
  },
});
