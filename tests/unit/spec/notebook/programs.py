"""Random small programs for the differential test. They use nothing but names a to e, a class C with an instance o, functions f and g, and two
names of the test itself: unk() gives a value nobody knows, poke(x) changes what it is handed."""

from __future__ import annotations

from hypothesis import strategies as st

NAMES = ["a", "b", "c", "d", "e"]
PRELUDE = "a = 1\nb = 2.5\nc = [1, 2]\nd = {'x': 1, 'y': [3]}\ne = 'text'\nclass C:\n    lr = 1\n    n = [1]\no = C()\n"

_names = st.sampled_from(NAMES)
_places = st.sampled_from([*NAMES, "C.lr", "o.lr", "d['x']", "c[0]", "d['y']", "o.n"])
_leaf = st.one_of(
    st.sampled_from(["0", "1", "2", "-3", "0.5", "True", "False", "None", "'s'", "''", "[]", "[1, 2]", "(1, 'q')", "{'x': 4}", "unk()"]),
    st.sampled_from(
        [*NAMES, "C.lr", "o.lr", "o.n", "d['x']", "c[0]", "d.get('x')", "c[-1]", "d['y']", "len(c)", "list(d)", "C.n", "str(a)"]
    ),
)


def _wrap(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(inner, inner)
    return st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%", "/", "|"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, st.sampled_from(["==", "!=", "<", ">=", "is", "is not", "in", "not in"]), inner).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
        pair.map(lambda t: f"({t[0]} or {t[1]})"),
        pair.map(lambda t: f"({t[0]} and {t[1]})"),
        inner.map(lambda t: f"(not {t})"),
        inner.map(lambda t: f"(-{t})"),
        pair.map(lambda t: f"[{t[0]}, {t[1]}]"),
        pair.map(lambda t: f"({t[0]}, {t[1]})"),
        pair.map(lambda t: "{'x': " + t[0] + ", 'z': " + t[1] + "}"),
        inner.map(lambda t: 'f"<{' + t + '}>"' if '"' not in t and "'" not in t and "\\" not in t and "{" not in t else t),
        st.tuples(_names, inner).map(lambda t: f"({t[0]} := {t[1]})"),
        inner.map(lambda t: f"[i for i in {t}]"),
        st.tuples(inner, inner).map(lambda t: f"[({t[0]}) for i in {t[1]}]"),
        inner.map(lambda t: f"max({t}, 2)"),
        inner.map(lambda t: f"f({t})"),
        pair.map(lambda t: f"g({t[0]}, k={t[1]})"),
        inner.map(lambda t: f"getattr(o, 'lr', {t})"),
        pair.map(lambda t: f"'{{}}-{{}}'.format({t[0]}, {t[1]})"),
        st.tuples(inner, inner).map(lambda t: f"dict(x={t[0]}, **{{'w': {t[1]}}})"),
        inner.map(lambda t: f"[*{t}, 1]"),
        inner.map(lambda t: f"{t}[0]"),
        inner.map(lambda t: f"{t}[1:]"),
    )


expressions = st.recursive(_leaf, _wrap, max_leaves=4)


def _indent(lines: list[str]) -> list[str]:
    return ["    " + one for one in lines]


def _simple() -> st.SearchStrategy[list[str]]:
    return st.one_of(
        st.tuples(_places, expressions).map(lambda t: [f"{t[0]} = {t[1]}"]),
        st.tuples(_places, st.sampled_from(["+=", "-=", "*=", "|="]), expressions).map(lambda t: [f"{t[0]} {t[1]} {t[2]}"]),
        st.tuples(_names, _names, expressions).map(lambda t: [f"{t[0]}, {t[1]} = {t[2]}, {t[0]}"]),
        st.tuples(_names, _names, expressions).map(lambda t: [f"{t[0]} = {t[1]} = {t[2]}"]),
        st.tuples(_names, _names, expressions).map(lambda t: [f"{t[0]}, *{t[1]} = {t[2]}"]),
        st.tuples(_places, st.sampled_from(["append(9)", "extend([7])", "pop()", "update(x=5)", "pop('x')", "clear()", "insert(0, 8)", "setdefault('q', 6)",
                                            "sort()", "reverse()", "remove(1)", "popitem()"])).map(lambda t: [f"{t[0]}.{t[1]}"]),
        _places.map(lambda t: [f"poke({t})"]),
        st.sampled_from([["poke(C)"], ["poke(o)"], ["del d['x']"], ["del c[0]"], ["setattr(o, 'lr', 7)"], ["setattr(C, 'lr', a)"], ["o = C()"], ["del o.lr"]]),
        st.tuples(_names).map(lambda t: [f"del {t[0]}", f"{t[0]} = 5"]),
        expressions.map(lambda t: [t]),
        st.sampled_from([["f(a)"], ["g(b)"], ["h()"], ["exec('a = 99')"], ["globals()['b'] = 98"]]),
        expressions.map(lambda t: [f"assert {t} is not Ellipsis"]),
    )  # fmt: skip


def _compound(inner: st.SearchStrategy[list[str]]) -> st.SearchStrategy[list[str]]:
    block = st.lists(inner, min_size=1, max_size=3).map(lambda blocks: [line for one in blocks for line in one])
    condition = st.one_of(st.just("unk()"), expressions)
    return st.one_of(
        st.tuples(condition, block).map(lambda t: [f"if {t[0]}:", *_indent(t[1])]),
        st.tuples(condition, block, block).map(lambda t: [f"if {t[0]}:", *_indent(t[1]), "else:", *_indent(t[2])]),
        st.tuples(_names, expressions, block).map(lambda t: [f"for {t[0]} in {t[1]}:", *_indent(t[2])]),
        st.tuples(_names, block, condition).map(lambda t: [f"for {t[0]} in range(3):", *_indent(t[1]), f"    if {t[2]}:", "        break"]),
        st.tuples(condition, block).map(lambda t: ["for _ in range(2):", f"    if {t[0]}:", "        continue", *_indent(t[1])]),
        st.tuples(condition, block).map(lambda t: ["while unk():", *_indent(t[1]), f"    if {t[0]}:", "        break"]),
        st.tuples(block, block).map(lambda t: ["try:", *_indent(t[0]), "except Exception:", *_indent(t[1])]),
        st.tuples(block, block, block).map(
            lambda t: ["try:", *_indent(t[0]), "except Exception as a:", *_indent(t[1]), "else:", *_indent(t[2])]
        ),
        st.tuples(block, block).map(lambda t: ["try:", *_indent(t[0]), "finally:", *_indent(t[1])]),
        st.tuples(block, condition).map(
            lambda t: ["try:", f"    if {t[1]}:", "        raise ValueError", *_indent(t[0]), "except Exception:", "    e = 3"]
        ),
        st.tuples(block).map(lambda t: ["with ctx():", *_indent(t[0])]),
    )


statements = st.recursive(_simple(), _compound, max_leaves=5)


@st.composite
def programs(draw: st.DrawFn) -> str:
    """A prelude, two functions, and some statements."""
    lines = [PRELUDE]
    body = draw(st.lists(statements, max_size=2))
    shared = draw(st.sampled_from(["global a", "global a, c", "pass"]))
    leave = draw(st.sampled_from(["return x", "return a", "return c", "return (x, a)", f"return {draw(expressions)}", "pass"]))
    early = draw(st.sampled_from(["pass", "if unk(): return 4", "if x: return a"]))
    lines += ["def f(x):", f"    {shared}", f"    {early}", *_indent([line for one in body for line in one]), f"    {leave}"]
    lines += [
        "def g(x, k=c, *rest, **more):",
        f"    {draw(st.sampled_from(['k.append(1)', 'pass', 'o.lr = x', 'C.lr = k', 'return k', 'return more, rest']))}",
        "    return x",
    ]
    lines += [
        "def h():",
        "    def inner():",
        "        nonlocal_ = a",
        "        return nonlocal_",
        f"    o.lr = {draw(expressions)}",
        "    return inner()",
    ]
    for one in draw(st.lists(statements, min_size=1, max_size=6)):
        lines += one
    return "\n".join(lines) + "\n"
