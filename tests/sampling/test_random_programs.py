"""Random programs: each strategy gives what plain torch gives with explicit masks, or refuses.

So a draw of a row depends neither on the rows beside it, their order and their number, nor on the
batch size, the number of draws or the strategy. ``pytest --programs 5000`` runs more programs; a
failure shows its program.
"""

from functools import cache, partial

import pytest
import torch
from programs import interpret, random_program
from torch.testing import assert_close

from sk_mcdropout import dropout_sites, sample
from sk_mcdropout.sampling import STRATEGIES

N_ROWS, N_DRAWS, SEED = 5, 6, 3
REFUSALS = NotImplementedError, RuntimeError, ValueError
# Double precision with room for its rounding; some programs compute in single precision.
TOLERANCES = {"dtypes": {"rtol": 1e-4, "atol": 1e-4}}


def pytest_generate_tests(metafunc):
    n_programs = metafunc.config.getoption("programs")
    if "number" in metafunc.fixturenames:
        metafunc.parametrize("number", range(n_programs))
    if "few" in metafunc.fixturenames:  # those that take long
        metafunc.parametrize("few", range(-(-n_programs // 5)))


@cache
def net_and_draws(program):
    return program.net(), interpret(program, program.inputs(N_ROWS), N_DRAWS, SEED)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of vmap
# Where vmap takes a program not, as for `out=`, rows that are asked about go one by one.
@pytest.mark.filterwarnings("ignore:the module should make the same dropout calls")
@pytest.mark.parametrize("strategy", [*STRATEGIES, "auto"])
def test_a_strategy_gives_what_plain_torch_gives_or_refuses(number, strategy):
    program = random_program(number)
    print(program)  # shown by pytest if the test fails
    net, expected = net_and_draws(program)
    same = partial(assert_close, **TOLERANCES.get(program.kind, {}))
    draw = partial(sample, net, seed=SEED, strategy=strategy)
    x = program.inputs(N_ROWS)
    rows = [4, 0, 3, 3]
    try:
        same(draw(x, N_DRAWS), expected)
        same(draw(x[rows], N_DRAWS - 2, batch_size=3), expected[:-2, rows])
    except REFUSALS:
        assert strategy not in ("auto", "loop")
    assert torch.equal(x, program.inputs(N_ROWS))


@cache
def expected_of_hard(program):
    x = program.inputs(N_ROWS)
    if program.kind == "mixing":
        return interpret(program, x, N_DRAWS, SEED)
    return torch.cat([interpret(program, x[[i]], N_DRAWS, SEED) for i in range(N_ROWS)], 1)


@pytest.mark.filterwarnings("ignore:the module")  # rows that go one by one, or mix
@pytest.mark.parametrize("strategy", ["auto", "one of them"])
@pytest.mark.parametrize("kind", ["sorted", "ragged", "asking all rows", "mixing"])
def test_rows_that_meet_or_part_are_those_of_plain_torch(few, kind, strategy):
    program = random_program(few, (kind,))
    print(program)
    if strategy != "auto":
        strategy = [*STRATEGIES][few % len(STRATEGIES)]
    x, expected = program.inputs(N_ROWS), expected_of_hard(program)
    draw = partial(sample, program.net(), seed=SEED, strategy=strategy)
    rows = [4, 0, 3, 3]
    try:
        assert_close(draw(x, N_DRAWS), expected)
        if kind != "mixing":
            assert_close(draw(x[rows], N_DRAWS - 2, batch_size=3), expected[:-2, rows])
    except REFUSALS:
        assert strategy not in ("auto", "loop")


@pytest.mark.slow
def test_each_strategy_is_the_first_to_take_some_programs():
    programs = [random_program(number) for number in range(40)]
    sites = [dropout_sites(program.net(), program.inputs(N_ROWS)) for program in programs]
    assert {name for s in sites for name in s.strategies} >= {"weights", "thinned", "vmap", "fold"}
