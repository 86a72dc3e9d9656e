from bradley.report.details import last_samples


def line(step, name, verdicts):
    return {
        "step": step,
        "set": name,
        "rows": [{"id": f"{i}", "correct": correct} for i, correct in enumerate(verdicts)],
    }


def test_the_last_evaluation_of_each_set_with_its_count_of_right_ones():
    lines = [line(0, "valid", [False, False]), line(0, "test", [True]), line(20, "valid", [True, None, False, True])]
    valid, test = last_samples(lines)
    assert (valid["set"], valid["step"], valid["right"], valid["n"]) == ("valid", 20, 2, 3)
    assert [row["verdict"] for row in valid["rows"]] == ["right", "tie", "wrong", "right"]
    assert (test["step"], test["right"], test["n"]) == (0, 1, 1)


def test_a_set_without_samples_is_not_shown():
    assert last_samples([]) == last_samples([line(3, "valid", [])]) == []
