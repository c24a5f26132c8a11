"""A second solver's opinion: an obligation as SMT-LIB, for whoever does not want to trust Z3.

cvc5 is a dependency of the tests and notebooks only; everything else works without it.
"""

from __future__ import annotations

import z3

from .induction import Attempt, Induction


def smtlib(induction: Induction, attempt: Attempt, lemma: str) -> str:
    """The question "can this rule lead from the lemmas to a state without this one?" as text.
    "unsat" is the proof."""
    solver = z3.Solver()
    question = induction.question(attempt)
    solver.add(question.solver.assertions(), *induction.assumed(question.known))
    solver.add(attempt.goals[lemma])
    return f"(set-logic ALL)\n{solver.to_smt2()}"


def cvc5_says(text: str) -> str:
    """cvc5's answer: "sat", "unsat" or "unknown". ImportError without cvc5."""
    import cvc5

    solver = cvc5.Solver()
    parser = cvc5.InputParser(solver)
    parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, text, "obligation")
    symbols = parser.getSymbolManager()
    answer = ""
    while not (command := parser.nextCommand()).isNull():
        answer = str(command.invoke(solver, symbols)).strip() or answer
    return answer
