import pytest

from bradley.errors import DataError, UserError
from bradley.report import plots
from bradley.report.plots.csv_columns import read_columns

TABLE = """step,loss,acc,note,empty,set,eval_loss
0,,,,,valid,0.7
0,,,,,probe,0.6
10,0.68,0.6,first,,,
20, 0.61 ,nan,,,,
20,,,,,valid,6e-1
30,0.5,0.75,,,,
"""


@pytest.fixture
def table(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "log.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def lines_of(columns):
    return {name: {line.name: (line.x, line.y) for line in lines} for name, lines in columns.lines.items()}


def test_blank_cells_are_skipped_empty_columns_left_out_and_sets_kept_apart(table):
    columns = read_columns(table(TABLE))
    assert lines_of(columns) == {
        "loss": {"": ([10, 20, 30], [0.68, 0.61, 0.5])},
        "acc": {"": ([10, 30], [0.6, 0.75])},
        "eval_loss": {"valid": ([0, 20], [0.7, 0.6]), "probe": ([0], [0.6])},
    }
    assert columns.left_out == {"note": "not numeric", "empty": "empty"}


def test_any_column_can_be_the_axis_and_a_byte_order_mark_is_no_name(table):
    columns = read_columns(table("step,epoch,loss\r\n1,0.5,3\r\n2,1.0,2\r\n", "utf-8-sig"), "epoch")
    assert lines_of(columns) == {"step": {"": ([0.5, 1.0], [1, 2])}, "loss": {"": ([0.5, 1.0], [3, 2])}}
    assert columns.x == "epoch"


def test_a_panel_per_column_two_wide_with_names_where_there_are_several_lines(table):
    figure = plots.table_figure(read_columns(table(TABLE)))
    loss, acc, evaluated = figure.axes[:3]
    assert [axis.get_title("left") for axis in figure.axes[:3]] == ["loss", "acc", "eval_loss"]
    assert {axis.get_xlabel() for axis in figure.axes[:3]} == {"step"}
    assert not figure.axes[3].axison
    assert list(loss.get_lines()[0].get_ydata()) == [0.68, 0.61, 0.5]
    assert loss.get_legend() is acc.get_legend() is None
    assert [text.get_text() for text in evaluated.get_legend().get_texts()] == ["valid", "probe"]
    assert tuple(figure.get_size_inches()) == pytest.approx((9.2, 5.6))


def test_lines_without_a_set_or_with_a_private_name_are_named_too(table):
    figure = plots.table_figure(read_columns(table("step,set,loss\n1,,3\n1,_odd,2\n")))
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["(no set)", "_odd"]


def test_without_a_step_the_error_names_the_columns(table):
    with pytest.raises(UserError, match="no column 'step'; its columns are epoch, loss") as caught:
        read_columns(table("epoch,loss\n1,2\n"))
    assert "rename" in caught.value.hint
    with pytest.raises(UserError, match="its columns are none"):
        read_columns(table(""))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step,loss\n1,0.5\n2,0.4,9\n", "line 3 has 3 cells, wanted 2"),
        ("step,loss\n1,0.5\n\n,0.4\n", "line 4: step is '', wanted a number"),
        ("step,loss\nnan,0.4\n", "line 2: step is 'nan'"),
        ("step,loss,loss\n1,2,3\n", "two columns of one name"),
        ("step,note\n1,a\n", "0 numeric columns besides 'step'"),
        ("step," + ",".join(f"c{i}" for i in range(201)) + "\n1" + ",1" * 201 + "\n", "201 numeric columns"),
    ],
)
def test_what_is_no_table_is_refused_with_its_line(table, text, message):
    with pytest.raises(DataError, match=message):
        read_columns(table(text))


def test_a_file_that_is_not_text_or_not_there_is_named(table, tmp_path):
    with pytest.raises(DataError, match="not a CSV file"):
        read_columns(table("step,loss\n1,\u00e9\n", "latin-1"))
    with pytest.raises(UserError, match=r"none\.csv cannot be read"):
        read_columns(tmp_path / "none.csv")
