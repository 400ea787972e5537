/**
 * The program's version, as package.json has it; a constant, so that it is also known inside a bundle.
 */
export const VERSION = '0.1.0';
