"""safe_ce.audit: the facts that it gives, its notes, and its report."""

from __future__ import annotations

import json

import pytest
import torch

import safe_ce
from safe_ce import SafeCrossEntropyError, audit
from tests.loaders import ONE_HOT, SOFT, TOKENS, X, Y, changed, loader


class TestFacts:
    def test_count_the_classes(self):
        found = audit(loader(X, changed(Y, slice(0, 10), -100)), 6)
        assert found.counts == (*Y[10:].bincount().tolist(), 0)
        assert (found.labels, found.ignored, found.missing) == (100, 10, (5,))
        assert (found.batches, found.samples, found.batch_size, found.last_batch) == (7, 100, 16, 4)
        assert found.complete
        assert found.input == "float32 (16, 3, 8, 8)"
        assert found.targets == {"int64 (16,)": 7}

    @pytest.mark.parametrize("target", [Y, Y.int(), Y.byte(), Y.float(), Y[:, None], ONE_HOT, ONE_HOT.float()])
    def test_count_them_whatever_holds_them(self, target):
        assert audit(loader(X, target), 5).counts == tuple(Y.bincount().tolist())

    def test_add_up_class_probabilities(self):
        assert audit(loader(X, SOFT), 5).counts == pytest.approx(SOFT.double().sum(0).tolist())

    def test_give_weights_that_balance_the_classes_that_occur(self):
        found = audit(loader(X, (torch.arange(100) < 20).long()), 3)
        assert torch.equal(found.class_weights, torch.tensor([0.625, 2.5, 1.0]))
        assert audit(loader(X, Y), weight=torch.ones(5)).class_weights.dtype is torch.float32

    def test_are_on_the_cpu_whatever_the_default_is(self):
        found = audit(loader(X, Y), 5)
        with torch.device("meta"):
            assert found.class_weights.tolist() == [1.0] * 5

    def test_end_with_the_largest_id_where_the_number_of_classes_is_not_known(self):
        found = audit(loader(X, Y))
        assert found.num_classes is None
        assert len(found.counts) == 5

    def test_read_the_number_of_classes_off_the_weight(self):
        assert audit(loader(X, Y), weight=torch.ones(7)).num_classes == 7

    def test_tell_classes_that_never_occur_from_one_that_is_ignored(self):
        assert audit(loader(X, Y), 6, ignore_index=0).missing == (5,)
        assert audit(loader(X, Y), 6, ignore_index=0).ignore_index == 0

    def test_say_that_not_all_was_seen(self):
        found = audit(loader(X, Y), 5, batches=2)
        assert (found.batches, found.complete) == (2, False)


REPORTED = {
    "sound": lambda: audit(loader(X, Y), 5),
    "broken": lambda: audit(loader(changed(X, (5, 0), torch.nan), changed(Y, 42, -1), shuffle=True), 5),
    "many classes": lambda: audit(loader(TOKENS, changed(TOKENS, (..., 3), 7)), 300),
    "soft": lambda: audit(loader(X, changed(SOFT, (42, 1), torch.nan)), 5),
    "only ignored": lambda: audit(loader(X, Y * 0 - 100), 5),
    "names": lambda: audit([(X[:2], ["cat", "dog"])]),
}


class TestTheReport:
    @pytest.mark.parametrize("columns", [44, 80, 120])
    @pytest.mark.parametrize("name", REPORTED)
    def test_fits_the_terminal(self, name, columns, monkeypatch):
        monkeypatch.setenv("COLUMNS", str(columns))
        report = str(REPORTED[name]())
        assert all(len(line) <= min(columns, 100) for line in report.splitlines())
        assert "?" not in report

    def test_says_first_whether_all_is_well(self):
        assert str(REPORTED["sound"]()).splitlines()[0] == "safe_ce.audit: 100 samples in 7 batches: nothing wrong"
        assert str(REPORTED["broken"]()).splitlines()[0] == "safe_ce.audit: 100 samples in 7 batches: 2 findings"

    def test_draws_the_classes(self):
        lines = str(audit(loader(X, (torch.arange(100) < 20).long()), 3)).splitlines()
        start = lines.index("  class  labels   share") + 1
        assert [line.rstrip("█▏▎▍▌▋▊▉") for line in lines[start : start + 3]] == [
            "      0      80   80.0%  ",
            "      1      20   20.0%  ",
            "      2       0    0.0%",
        ]
        assert lines[start].count("█") == 4 * lines[start + 1].count("█") > 0
        assert "  never    1 of 3 classes: 2" in lines

    @pytest.mark.parametrize(("rare", "said"), [(25, True), (26, False)])
    def test_says_how_far_the_classes_are_from_a_balance(self, rare, said):
        report = " ".join(str(audit(loader(X, (torch.arange(100) < rare).long()), 2)).split())
        assert ("class 0 is 3 times as frequent as class 1; .class_weights would balance them" in report) is said

    def test_is_what_a_notebook_shows(self):
        found = REPORTED["broken"]()
        assert repr(found) == str(found)

    def test_is_made_without_a_terminal(self, monkeypatch):
        found = REPORTED["sound"]()
        monkeypatch.setattr("sys.stdout", None)
        assert "####" in str(found)

    def test_draws_them_in_ascii_where_the_terminal_has_nothing_else(self, monkeypatch):
        class Ascii:
            encoding = "ascii"

        found = audit(loader(X, Y), 5)
        monkeypatch.setattr("sys.stdout", Ascii)
        assert str(found).isascii()
        assert "####" in str(found)

    def test_shows_the_extremes_of_many_classes(self):
        report = str(REPORTED["many classes"]())
        assert "classes more, from the most frequent to the rarest" in report
        assert "never    250 of 300 classes: 50, 51, 52" in report
        assert len(report.splitlines()) < 40

    def test_ends_with_the_findings(self):
        assert str(REPORTED["broken"]()).endswith("  more: python -m safe_ce explain SCE108")

    def test_names_the_samples_below_each_other(self):
        lines = str(audit(loader(X, changed(changed(Y, 42, -1), 77, -1)), 5)).splitlines()
        at = lines.index("  at: batch 2, position 10, dataset[42]: label -1")
        assert lines[at + 1] == "      batch 4, position 13, dataset[77]: label -1"

    def test_names_them_whole_on_a_narrow_terminal(self, monkeypatch):
        monkeypatch.setenv("COLUMNS", "40")
        report = " ".join(str(audit(loader(X, changed(Y, 42, -1)), 5)).split())
        assert "at: batch 2, position 10, dataset[42]: label -1" in report

    def test_is_in_the_error_too(self):
        with pytest.raises(SafeCrossEntropyError, match=r"at: batch 2, position 10, dataset\[42\]: label -1"):
            audit(loader(X, changed(Y, 42, -1)), 5).raise_if_broken()

    @pytest.mark.parametrize("name", REPORTED)
    def test_is_plain_data(self, name):
        found = REPORTED[name]()
        data = found.to_dict()
        again = json.loads(json.dumps(data))
        assert again["ok"] == found.ok
        assert [finding["cause"] for finding in again["findings"]] == [finding.cause for finding in found.findings]
        assert again["batches"] == found.batches
        assert again["counts"] == list(found.counts)

    def test_names_the_samples_in_plain_data(self):
        (finding,) = audit(loader(X, changed(Y, 42, -1)), 5).to_dict()["findings"]
        assert finding["samples"] == [{"batch": 2, "position": 10, "index": 42, "seen": "label -1"}]

    def test_plots(self):
        pytest.importorskip("matplotlib")
        figure = REPORTED["broken"]().plot()
        (axes,) = figure.axes
        assert [bar.get_height() for bar in axes.patches] == list(REPORTED["broken"]().counts)
        assert "[SCE211]" in axes.get_title(loc="left")

    def test_says_what_a_plot_needs(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
        with pytest.raises(ModuleNotFoundError, match=r"safe-ce\[audit\]"):
            REPORTED["sound"]().plot()


def test_public_names_are_exported():
    assert safe_ce.Audit is type(audit(loader(X, Y)))
    assert safe_ce.Sample is type(audit(loader(X, Y - 1)).findings[0].samples[0])
    assert safe_ce.Audit.__module__ == safe_ce.Sample.__module__ == "safe_ce"
