"""Random programs: each strategy gives what plain torch gives with explicit masks, or refuses.

A few hundred programs run here; ``pytest --programs 5000`` runs more. A failure shows the program.
"""

from functools import cache

import pytest
import torch
from programs import interpret, random_program
from torch.testing import assert_close

from sk_mcdropout import dropout_sites, sample
from sk_mcdropout.sampling import STRATEGIES

N_ROWS, N_DRAWS = 5, 6
ANY = "auto", "loop"  # these take every module


def pytest_generate_tests(metafunc):
    if "number" in metafunc.fixturenames:
        metafunc.parametrize("number", range(metafunc.config.getoption("programs")))


@cache
def expected(number):
    program = random_program(number)
    return interpret(program, program.inputs(N_ROWS), N_DRAWS, seed=3)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of vmap
@pytest.mark.parametrize("strategy", [*STRATEGIES, "auto"])
def test_a_strategy_gives_what_plain_torch_gives_or_refuses(number, strategy):
    program = random_program(number)
    print(program)  # shown by pytest if the test fails
    net, x = program.net(), program.inputs(N_ROWS)
    try:
        draws = sample(net, x, N_DRAWS, seed=3, strategy=strategy)
        rows = [4, 0, 3, 3]  # in another order, fewer, twice; as batches of three rows and one
        some = sample(net, x[rows], N_DRAWS - 2, seed=3, strategy=strategy, batch_size=3)
    except (NotImplementedError, RuntimeError, ValueError):
        assert strategy not in ANY
    else:
        assert_close(draws, expected(number))
        assert_close(some, expected(number)[:-2, rows])
    assert torch.equal(x, program.inputs(N_ROWS))


def test_the_programs_are_such_that_each_strategy_is_the_first_to_take_some():
    programs = [random_program(number) for number in range(40)]
    sites = [dropout_sites(program.net(), program.inputs(N_ROWS)) for program in programs]
    assert {name for s in sites for name in s.strategies} >= {"weights", "thinned", "vmap", "fold"}
