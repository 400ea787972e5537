/**
 * The syntax of formulas: `jsep` with Expr's operators, literals and predicates, which are set up for the whole process.
 */
import jsep from 'jsep';
import { at, FormulaError, type Value } from './values.ts';

export type Tree = jsep.CoreExpression | Own | null;

/** Nodes that are not jsep's own. */
type Own =
  | { readonly type: 'Constant'; readonly value: boolean | null }
  /** `#`. */
  | { readonly type: 'Element' }
  /** `( … )`, which keeps what stands after it from what stands in it. */
  | { readonly type: 'Group'; readonly body: jsep.Expression }
  /** `{ … }`. */
  | { readonly type: 'Predicate'; readonly body: jsep.Expression };

/** Throws a `FormulaError` or one of jsep's. */
export function parseTree(text: string): Tree {
  for (const { 0: sign, 1: beyond, index } of text.matchAll(SIGNS))
    if (beyond !== undefined) throw new FormulaError(`${sign} ${at(index)} is more of Expr than is evaluated here`, true);
  // jsep passes over separators.
  const stray = /^\s*,|,\s*$/.exec(text);
  if (stray !== null) throw new FormulaError(`unexpected comma ${at(text.indexOf(',', stray.index))}`);
  const tree = jsep(text);
  if (tree.type === 'Compound') throw new FormulaError(text.trim() === '' ? 'is empty' : 'must be one expression');
  return tree as jsep.CoreExpression;
}

/** Expr's operators by precedence. https://github.com/expr-lang/expr/blob/master/parser/operator/operator.go */
const PRECEDENCE: Readonly<Record<string, number>> = {
  ...{ '||': 10, or: 10, '&&': 15, and: 15 },
  ...{ '==': 20, '!=': 20, '<': 20, '>': 20, '<=': 20, '>=': 20 },
  ...{ '+': 30, '-': 30, '*': 60, '/': 60, '%': 60, '**': 100, '^': 100, '??': 500 },
};
const POWERS = ['**', '^'];
const LITERALS: ReadonlyMap<string, Value> = new Map([
  ['true', true],
  ['false', false],
  ['nil', null],
]);
/** The first alternative is known; whatever else is matched is Expr's, and not known here. */
const SIGNS =
  /\|\||(["'`|;$]|\.\.|\?\.|\?:|\/[/*]|#\w|\b0[xXbBoO]|\b\d+_|\b(?:let|if|in|matches|contains|startsWith|endsWith)\b)/g;

jsep.removeAllBinaryOps();
jsep.removeAllUnaryOps();
jsep.removeAllLiterals();
for (const [operator, precedence] of Object.entries(PRECEDENCE))
  jsep.addBinaryOp(operator, precedence, POWERS.includes(operator));
for (const operator of ['-', '+', '!', 'not']) jsep.addUnaryOp(operator);

jsep.hooks.add('gobble-token', function (env) {
  const { index } = this;
  if (this.char === '(') env.node = { type: 'Group', body: enclosed(this, ')') };
  else if (this.char === '{') env.node = { type: 'Predicate', body: enclosed(this, '}') };
  else if (this.char === '#') {
    this.index++;
    env.node = { type: 'Element' };
  } else if (/\p{L}|_/u.test(this.char)) {
    const { name } = this.gobbleIdentifier() as jsep.Identifier;
    if (name === 'not') this.index = index;
    else {
      const literal = LITERALS.get(name);
      env.node =
        literal === undefined
          ? this.gobbleTokenProperty({ type: 'Identifier', name, index })
          : { type: 'Constant', value: literal as boolean | null };
    }
  }
});
jsep.hooks.add('after-token', function ({ node }) {
  // What binds closer than a sign is the sign's: -2 ** 2 is -(2 ** 2).
  if (node?.type === 'UnaryExpression') node['argument'] = closer(this, node['argument'] as jsep.Expression);
});
jsep.hooks.add('after-expression', function ({ node }) {
  if (node !== undefined && !/^[,)\]}:]?$/.test(this.char)) this.throwError(`Unexpected "${this.char}"`);
});

function enclosed(scope: jsep.HookScope, end: string): jsep.Expression {
  scope.index++;
  const node = scope.gobbleExpression() as jsep.Expression | undefined;
  if (!node || scope.char !== end) return scope.throwError(`Expected ${end}`);
  scope.index++;
  return node;
}

function closer(scope: jsep.HookScope, first: jsep.Expression): jsep.Expression {
  let left = first;
  for (;;) {
    const { index } = scope;
    const operator = scope.gobbleBinaryOp() as unknown as string | false;
    if (operator === false) return left;
    if (operator !== '??' && !POWERS.includes(operator)) {
      scope.index = index;
      return left;
    }
    const token = scope.gobbleToken();
    if (!token) return scope.throwError(`Expected expression after ${operator}`);
    if (operator !== '??') return { type: 'BinaryExpression', operator, left, right: closer(scope, token) };
    left = { type: 'BinaryExpression', operator, left, right: token };
  }
}
