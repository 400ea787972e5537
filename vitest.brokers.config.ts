import { defineConfig } from 'vitest/config';
import faults from './vitest.faults.config.ts';

/** Any test file, as test:brokers names them: one at a time, with the patience of the fault matrices. */
export default defineConfig({ test: { ...faults.test, include: ['test/**/*.test.ts'], passWithNoTests: false } });
