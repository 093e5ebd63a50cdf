"""Values of declared types come back as themselves, and what does not fit is refused with its place."""

from __future__ import annotations

import sys
import types
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar, Union
from uuid import UUID

import pytest

from durable_ext.codec.serialization import DataConverter

CONVERTER = DataConverter()
STRICT = DataConverter(strict=True)
T = TypeVar("T")
Sku = NewType("Sku", str)


class Colour(Enum):
    RED = "red"
    PAIR = (1, 2)


class Level(IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int
    when: date


class Options(TypedDict, total=False):
    since: datetime
    note: str


class Needed(TypedDict):
    since: datetime


@dataclass(frozen=True)
class Line:
    sku: Sku
    price: Decimal
    colour: Colour = Colour.RED


@dataclass
class Order:
    id: UUID
    placed: datetime
    lines: list[Line]
    parent: Optional[Order] = None
    total: int = field(init=False, default=0)


@dataclass
class Even:
    even: int

    def __post_init__(self) -> None:
        if self.even % 2:
            raise ValueError(f"{self.even} is odd")


@dataclass
class Page(Generic[T]):
    items: list[T]
    first: T


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (Colour.RED, Colour),
        (Colour.PAIR, Colour),
        (Level.LOW, Level),
        (datetime(2024, 5, 6, 7, 8, 9, 120000), datetime),
        (datetime(2024, 5, 6, 7, 8, 9, tzinfo=timezone(timedelta(hours=2))), datetime),
        (date(2024, 5, 6), date),
        (time(7, 8, 9, 5), time),
        (timedelta(days=-1, microseconds=5), timedelta),
        (timedelta(days=3), timedelta),
        (UUID(int=5), UUID),
        (Decimal("1E+3"), Decimal),
        (Point(1, date(2024, 1, 1)), Point),
        (Line(Sku("a"), Decimal("0.1"), Colour.PAIR), Line),
        ([date(2024, 1, 1)], list[date]),
        ((date(2024, 1, 1), "x"), tuple[date, str]),
        ((1, 2, 3), tuple[int, ...]),
        ((), tuple[()]),
        (deque([UUID(int=1)]), deque[UUID]),
        ({"a": UUID(int=1)}, dict[str, UUID]),
        ({1: "a", 2: "b"}, dict[int, str]),
        ({1.5: "a"}, dict[float, str]),
        ({True: 1}, dict[bool, int]),
        ({Level.LOW: 1}, dict[Level, int]),
        ({UUID(int=1): [Colour.RED]}, Mapping[UUID, Sequence[Colour]]),
        (None, Optional[Line]),
        (Line(Sku("a"), Decimal(1)), Union[Point, Line, None]),
        (date(2024, 1, 1), Union[int, date]),
        ("text", Union[int, date, str]),
        ({"since": datetime(2024, 1, 1), "other": 1}, Options),
        (UUID(int=3), Annotated[UUID, ["unhashable"]]),
        ("b", Literal["a", "b"]),
        (Page([Line(Sku("a"), Decimal(1))], Line(Sku("b"), Decimal(2))), Page[Line]),
        (5, int),
        ({"a": [1]}, Any),
    ],
    ids=str,
)
def test_a_value_comes_back_as_its_declared_type(value: object, hint: Any) -> None:
    if isinstance(value, deque):
        text = CONVERTER.to_text(list(value))
    elif isinstance(value, dict) and any(not isinstance(key, (str, int, float)) for key in value):
        text = CONVERTER.to_text({str(key): item for key, item in value.items()})
    else:
        text = CONVERTER.to_text(value)

    back = CONVERTER.from_text(text, hint)

    assert back == value
    assert type(back) is type(value)


def test_a_tree_of_dataclasses_comes_back_with_members_that_are_set_late() -> None:
    child = Order(id=UUID(int=8), placed=datetime(2024, 5, 6), lines=[])
    order = Order(
        id=UUID(int=7),
        placed=datetime(2024, 5, 6, 7, 8, 9, tzinfo=timezone.utc),
        lines=[Line(Sku("a"), Decimal("1.50"))],
        parent=child,
    )
    order.total = 12

    assert CONVERTER.from_text(CONVERTER.to_text(order), Order) == order


def test_a_declared_set_is_made_of_a_list() -> None:
    assert CONVERTER.from_text('["a","b","a"]', set[str]) == {"a", "b"}


@pytest.mark.parametrize(
    "text", ["2024-05-06T07:08:09.1234567Z", "2024-05-06T07:08:09.123456789Z", "2024-05-06T07:08:09.123456+00:00"]
)
def test_times_of_other_languages_are_read_to_the_microsecond(text: str) -> None:
    assert CONVERTER.from_text(f'"{text}"', datetime) == datetime(2024, 5, 6, 7, 8, 9, 123456, timezone.utc)


def test_a_span_may_be_a_number_of_seconds() -> None:
    assert CONVERTER.from_text("1.5", timedelta) == timedelta(seconds=1.5)


def test_members_that_a_dataclass_does_not_have_are_ignored() -> None:
    assert CONVERTER.from_text('{"sku":"a","price":1,"new":true}', Line) == Line(Sku("a"), Decimal(1))


def test_a_union_of_dataclasses_takes_the_one_whose_members_fit() -> None:
    @dataclass
    class Small:
        sku: str

    assert CONVERTER.from_text('{"sku":"a","price":"1"}', Union[Small, Line]) == Line(Sku("a"), Decimal(1))


def test_a_union_of_plain_types_is_a_hint_only() -> None:
    assert CONVERTER.from_text('{"a":1}', Union[int, str]) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "hint", "place", "names"),
    [
        ("5", Line, "$ is 5", "Line"),
        ('{"sku":"a"}', Line, "$ is a dict", "'price' is missing"),
        ('{"sku":"a","price":[]}', Line, "$.price", "Decimal"),
        ('[{"sku":"a","price":"x"}]', list[Line], "$[0].price", "'x' is not a number"),
        ('{"k":["no date"]}', dict[str, list[date]], "$.k[0]", "date"),
        ('"blue"', Colour, "'blue'", "Colour"),
        ("[1]", tuple[int, int], "$ is a list", "1 elements"),
        ('{"x":1}', dict[int, int], "$.x", "int"),
        ('"x"', Literal["a"], "'x'", "Literal"),
        ("{}", Needed, "$ is a dict", "'since' is missing"),
        ("true", Optional[Line], "True", "Line"),
        ("null", Line, "None", "Line"),
        ("true", Decimal, "True", "Decimal"),
        ("[1,2,3]", Point, "a list", "Point"),
        ('"x"', list[date], "'x'", "list"),
        ('"x"', dict[str, date], "'x'", "dict"),
        ('"x"', tuple[date, ...], "'x'", "tuple"),
        ('"maybe"', dict[bool, int], "'maybe'", "dict"),
        ('{"maybe":1}', dict[bool, int], "$.maybe", "bool"),
        ("5", datetime, "$ is 5", "datetime"),
        ("[]", timedelta, "a list", "timedelta"),
        ("5", UUID, "$ is 5", "UUID"),
        ('{"sku":"' + "x" * 99 + '"}', dict[str, date], "'" + "x" * 37 + "...'", "date"),
        ('[["a"]]', list[Point], "$[0]", "when"),
        ('{"first":1}', Page[Line], "$ is a dict", "'items' is missing"),
        ('{"even":3}', Even, "$ is a dict", "3 is odd"),
        ("5", Needed, "$ is 5", "Needed"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place_and_both_types(text: str, hint: Any, place: str, names: str) -> None:
    with pytest.raises(TypeError) as caught:
        CONVERTER.from_text(text, hint)

    assert place in str(caught.value)
    assert names in str(caught.value)


def test_a_named_tuple_may_come_as_an_object() -> None:
    assert CONVERTER.from_text('{"when":"2024-01-02","x":1}', Point) == Point(1, date(2024, 1, 2))


def test_parts_whose_type_says_nothing_stay_as_they_are() -> None:
    assert CONVERTER.from_text('[null,{"a":1},"2024-01-02",[1]]', tuple[None, Any, date, T]) == (  # type: ignore[valid-type]
        None,
        {"a": 1},
        date(2024, 1, 2),
        [1],
    )


def test_a_required_member_is_shaped() -> None:
    if sys.version_info < (3, 11):
        pytest.skip("no Required before Python 3.11")
    from typing_extensions import Required

    Marked = TypedDict("Marked", {"at": Required[date]}, total=False)  # noqa: UP013 -- a class could not be resolved here

    assert CONVERTER.from_text('{"at":"2024-01-02"}', Marked) == {"at": date(2024, 1, 2)}


def test_a_bare_container_is_made() -> None:
    assert CONVERTER.from_text("[1,2]", tuple) == (1, 2)


def test_strict_takes_an_integer_for_a_float_member_and_refuses_further_members() -> None:
    assert STRICT.from_text("[1]", list[float]) == [1]
    with pytest.raises(TypeError, match=r"\$\[0\] is 1 and does not fit None"):
        STRICT.from_text('[1,"2024-01-02"]', tuple[None, date])
    with pytest.raises(TypeError, match="more members"):
        STRICT.from_text('{"even":2,"odd":1}', Even)


def test_strict_shapes_and_refuses_plain_types_too() -> None:
    assert STRICT.from_text('["2024-01-02"]', list[date]) == [date(2024, 1, 2)]
    with pytest.raises(TypeError, match=r"\$\[0\]"):
        STRICT.from_text('[{"sku":5,"price":"1"}]', list[Line])


def test_a_hint_that_cannot_be_resolved_leaves_that_member_as_it_is() -> None:
    @dataclass
    class Half:
        when: date
        other: Missing  # type: ignore[name-defined]  # noqa: F821

    assert CONVERTER.from_text('{"when":"2024-01-02","other":"x"}', Half) == Half(date(2024, 1, 2), "x")


def test_a_class_with_from_json_is_built_from_plain_json() -> None:
    class Celsius:
        def __init__(self, degrees: float) -> None:
            self.degrees = degrees

        @classmethod
        def from_json(cls, data: float) -> Celsius:
            return cls(data)

    assert CONVERTER.from_text("[21.5]", list[Celsius])[0].degrees == 21.5


def test_a_new_style_type_alias_means_what_it_names() -> None:
    if sys.version_info < (3, 12):
        pytest.skip("no type statement before Python 3.12")
    scope: dict[str, Any] = {"date": date}
    exec("type Days = list[date]", scope)

    assert CONVERTER.from_text('["2024-01-02"]', scope["Days"]) == [date(2024, 1, 2)]


def test_an_alias_that_contains_itself_is_a_hint_only() -> None:
    if sys.version_info < (3, 12):
        pytest.skip("no type statement before Python 3.12")
    scope: dict[str, Any] = {}
    exec("type Json = str | int | list[Json] | dict[str, Json]", scope)

    assert CONVERTER.from_text('{"a":[1]}', scope["Json"]) == {"a": [1]}


@pytest.fixture
def pydantic_like(monkeypatch: pytest.MonkeyPatch) -> type[Any]:
    """Pydantic's model class, or a stand-in with its three methods where it is not installed."""
    try:
        from pydantic import BaseModel
    except ImportError:
        module = types.ModuleType("pydantic")

        class BaseModel:  # type: ignore[no-redef]
            def __init__(self, **members: object) -> None:
                self.__dict__.update(members)

            def __eq__(self, other: object) -> bool:
                return isinstance(other, BaseModel) and other.__dict__ == self.__dict__

            __hash__ = None  # type: ignore[assignment]

            def model_dump(self, *, mode: str) -> dict[str, object]:
                return dict(self.__dict__)

            @classmethod
            def model_validate(cls, value: object) -> Any:
                if not isinstance(value, dict):
                    raise ValueError("no object")
                return cls(**value)

        module.BaseModel = BaseModel  # type: ignore[attr-defined]
        module.TypeAdapter = object  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "pydantic", module)
    return BaseModel


def test_a_pydantic_model_is_written_by_itself_and_validated_when_read(pydantic_like: type[Any]) -> None:
    Customer: Any = type("Customer", (pydantic_like,), {"__annotations__": {"name": str}, "__module__": __name__})
    value = Customer(name="x")

    assert CONVERTER.to_text(value) == '{"name": "x"}'
    assert CONVERTER.from_text('[{"name": "x"}]', list[Customer]) == [value]
    with pytest.raises(TypeError, match="Customer"):
        CONVERTER.from_text("5", Customer)
