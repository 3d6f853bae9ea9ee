"""What every component is, whatever its kind: a frozen value with a name, checked late, stackable."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
import torch
from sklearn.base import clone

import skbig.components as public
from skbig import networks
from skbig._utils import component as registry
from skbig._utils.component import Component, hyperparameter, names, place, resolve, stack, stack_values
from skbig._utils.validation import Boolean, Each, Interval, Options
from tests.shipped import shipped


@dataclasses.dataclass(frozen=True)
class Tool(Component):
    """An interface of the tests' own, so that these tests hold for any kind."""

    kind = "tool"


@dataclasses.dataclass(frozen=True)
class Saw(Tool):
    """A component with a field of every sort."""

    length: float = hyperparameter(0.5, Interval(0, 1, closed="left"), varies=True)
    teeth: tuple[float, float] = hyperparameter((0.9, 0.99), Each(Interval(0, 1), 2), varies=True)
    folds: bool = hyperparameter(False, Boolean())
    grip: str = hyperparameter("wood", Options(("wood", "steel")))


@dataclasses.dataclass(frozen=True)
class Hammer(Tool):
    """A component without fields."""


@pytest.fixture(autouse=True)
def toolbox(monkeypatch):
    """Register the tools by name, for these tests only."""
    monkeypatch.setitem(registry._REGISTRY, "tool", {"saw": Saw, "hammer": Hammer})


every_shipped = pytest.mark.parametrize("cls", shipped(), ids=lambda cls: f"{cls.kind}-{cls.name}")


class TestResolve:
    """From what the user writes to a component."""

    @pytest.mark.parametrize("value", ["saw", Saw, Saw()], ids=["name", "class", "instance"])
    def test_a_name_a_class_and_an_instance_are_the_same(self, value):
        """Three ways to say one thing."""
        assert resolve(Tool, value) == Saw()

    def test_an_instance_is_handed_through(self):
        """What the user made is used as it is."""
        saw = Saw(length=0.1)
        assert resolve(Tool, saw) is saw

    def test_none_is_a_choice_only_where_it_may_be(self):
        """No penalty is a penalty; no optimizer is not an optimizer."""
        assert resolve(Tool, None, optional=True) is None
        with pytest.raises(ValueError, match="must be one of"):
            resolve(Tool, None)

    @pytest.mark.parametrize("value", ["drill", 3, None, int, "Saw"])
    def test_an_error_lists_the_names_and_what_was_got(self, value):
        """One sentence says which parameter, what it must be, and what it got."""
        with pytest.raises(ValueError) as caught:
            resolve(Tool, value)
        expected = "The 'tool' parameter must be one of ['hammer', 'saw'], or an instance of Tool."
        assert str(caught.value).startswith(expected)
        assert str(caught.value).endswith(f"Got {value!r} instead.")

    def test_none_is_listed_where_it_is_a_choice(self):
        """The list of choices is complete."""
        with pytest.raises(ValueError, match=r"\['hammer', 'saw'\], None, or"):
            resolve(Tool, "drill", optional=True)

    def test_a_near_name_is_suggested(self):
        """A slip of the finger is answered with the right word, and a wild guess with none."""
        with pytest.raises(ValueError, match="Did you mean 'hammer'?"):
            resolve(Tool, "hamer")
        with pytest.raises(ValueError) as caught:
            resolve(Tool, "screwdriver")
        assert "Did you mean" not in str(caught.value)

    def test_a_component_of_another_kind_is_an_error(self):
        """A saw is no schedule, by name, by class and by instance."""
        for value in ("saw", Saw, Saw()):
            with pytest.raises(ValueError, match="must be one of"):
                resolve(public.Schedule, value)

    def test_a_named_subclass_can_be_used_by_its_name(self):
        """To give a name is to register, and a subclass without one is not found by its parent's."""

        @dataclasses.dataclass(frozen=True)
        class Plane(Tool, name="plane"):
            pass

        @dataclasses.dataclass(frozen=True)
        class SmallPlane(Plane):
            pass

        assert names("tool") == ["hammer", "plane", "saw"]
        assert type(resolve(Tool, "plane")) is Plane
        assert SmallPlane.name is None


class TestReplace:
    """A changed copy."""

    def test_the_original_stays(self):
        """Components are shared, so a change makes a new one."""
        saw = Saw()
        assert saw.replace(length=0.1) == Saw(length=0.1)
        assert saw == Saw()

    def test_an_unknown_name_is_an_error_with_a_hint(self):
        """The message names the component, the nearest name and all of them."""
        with pytest.raises(ValueError) as caught:
            Saw().replace(lenght=0.1)
        message = str(caught.value)
        assert message.startswith("Invalid parameter 'lenght' for tool Saw. Did you mean 'length'?")
        assert message.endswith("['length', 'teeth', 'folds', 'grip'].")

    def test_a_field_cannot_be_set(self):
        """A component is frozen."""
        with pytest.raises(dataclasses.FrozenInstanceError):
            Saw().length = 0.1


class TestCheck:
    """Ranges, looked at when asked and never before."""

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"length": 1.0}, "The 'length' parameter of Saw must be a float in the range [0, 1). Got 1.0 instead."),
            ({"length": float("nan")}, "The 'length' parameter of Saw must be a float in the range [0, 1). Got nan"),
            ({"length": "long"}, "The 'length' parameter of Saw must be a float in the range [0, 1). Got 'long'"),
            ({"length": True}, "The 'length' parameter of Saw must be a float in the range [0, 1). Got True"),
            ({"teeth": (0.5, 2)}, "The 'teeth' parameter of Saw must be a tuple of 2 values, each a float in the"),
            ({"teeth": 0.5}, "The 'teeth' parameter of Saw must be a tuple of 2 values"),
            ({"teeth": (0.5,)}, "The 'teeth' parameter of Saw must be a tuple of 2 values"),
            ({"folds": "no"}, "The 'folds' parameter of Saw must be a bool. Got 'no' instead."),
            ({"grip": "bone"}, "The 'grip' parameter of Saw must be one of {'wood', 'steel'}. Got 'bone' instead."),
        ],
    )
    def test_a_value_out_of_its_range_is_named(self, change, message):
        """One sentence says which parameter, of what, must be what, got what; the constructor takes anything."""
        saw = Saw(**change)
        with pytest.raises(ValueError) as caught:
            saw.check()
        assert str(caught.value).startswith(message)

    @pytest.mark.parametrize("change", [{}, {"length": 0}, {"teeth": [0, 1]}, {"folds": True}, {"grip": "steel"}])
    def test_a_value_in_its_range_is_taken(self, change):
        """Bounds that belong to a range, whole numbers for real ones, and lists for tuples are fine."""
        Saw(**change).check()

    @every_shipped
    def test_what_is_shipped_is_in_range(self, cls):
        """The defaults of every registered component are valid."""
        cls().check()


class TestStack:
    """One component for many members."""

    def test_numbers_that_differ_become_a_tensor_over_the_members(self):
        """A field that varies holds a value per member, [M, 1, 1], also inside a tuple, where members differ."""
        stacked = stack([Saw(length=0.1), Saw(length=0.2), Saw(length=0.4, teeth=(0.9, 0.5))])
        assert stacked.length.flatten().tolist() == [0.1, 0.2, 0.4]
        assert stacked.length.shape == (3, 1, 1) and stacked.length.dtype == torch.float64
        assert stacked.teeth[0] == 0.9
        assert stacked.teeth[1].flatten().tolist() == [0.99, 0.99, 0.5]

    def test_members_that_agree_stay_one_number(self):
        """A stack of equals is the component itself."""
        assert stack([Saw(length=0.1)] * 3) == Saw(length=0.1)
        assert stack([Hammer()]) == Hammer()

    def test_a_list_is_as_good_as_a_tuple(self):
        """A grid may come from JSON: lists, and lists beside tuples, are stacked item by item."""
        teeth = stack([Saw(teeth=[0.9, 0.99]), Saw(teeth=(0.9, 0.5))]).teeth
        assert teeth[0] == 0.9
        assert teeth[1].flatten().tolist() == [0.99, 0.5]
        assert stack([Saw(teeth=[0.9, 0.5]), Saw(teeth=(0.9, 0.5))]).teeth == (0.9, 0.5)

    def test_values_outside_components_are_stacked_alike(self):
        """The rate and the strength of the members, which are no fields: one number, or a tensor [M, 1, 1]."""
        assert stack_values([0.1, 0.1]) == 0.1
        assert stack_values([0.1, 1]).tolist() == [[[0.1]], [[1.0]]]

    @pytest.mark.parametrize("other", [Saw(folds=True), Saw(grip="steel"), Hammer()], ids=repr)
    def test_what_does_not_vary_cannot_be_stacked(self, other):
        """Members that would need other code are refused."""
        with pytest.raises(ValueError, match="cannot be stacked"):
            stack([Saw(), other])

    @every_shipped
    def test_a_stack_of_valid_components_is_valid(self, cls):
        """Ranges hold for each member's number, and the fields that vary are named by the class."""
        component = cls()
        stacked = stack([component, component])
        assert stacked == component
        stacked.check()


class TestPlace:
    """Where the numbers of a stack are."""

    saws = stack([Saw(length=0.1, teeth=(0.9, 0.5)), Saw(length=0.2, teeth=(0.9, 0.6))])

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
    def test_tensors_follow(self, dtype):
        """Numbers that differ, also inside a tuple, have the dtype of the tensor beside; a shared one stays a float."""
        placed = place(self.saws, torch.ones(3, dtype=dtype))
        assert torch.equal(placed.length, self.saws.length.to(dtype))
        assert torch.equal(placed.teeth[1], self.saws.teeth[1].to(dtype))
        assert placed.teeth[0] == 0.9 and (placed.folds, placed.grip) == (False, "wood")

    def test_tensors_move(self):
        """They are on the device of the tensor beside."""
        placed = place(self.saws, torch.ones(3, device="meta"))
        assert {placed.length.device.type, placed.teeth[1].device.type} == {"meta"}

    def test_the_stack_stays(self):
        """A component is frozen, so another one is placed."""
        place(self.saws, torch.ones(3))
        assert self.saws.length.dtype == torch.float64

    @pytest.mark.parametrize("component", [Saw(), Hammer(), Saw(teeth=[0.1, 0.2])], ids=repr)
    def test_plain_numbers_are_at_home_everywhere(self, component):
        """A component without tensors is itself in every place."""
        assert place(component, torch.ones(3, device="meta")) is component

    def test_indices_stay_whole(self):
        """A tensor of integers moves, and is not rounded."""
        indices = place(Saw(grip=torch.tensor([3])), torch.ones(3)).grip
        assert indices.dtype == torch.int64


def is_by_value(made):
    return made == Saw(length=0.1) and hash(made) == hash(Saw(length=0.1)) and repr(made) == repr(Saw(length=0.1))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, clone, lambda c: pickle.loads(pickle.dumps(c))])
def test_a_copy_is_the_same_value(copied):
    """Equality, hash and repr go by value, so copies, clones and pickles are as good as the original."""
    assert is_by_value(copied(Saw(length=0.1)))


def test_other_values_are_not_equal():
    """Components differ by their class and by each field."""
    assert len({Saw(), Saw(length=0.1), Saw(folds=True), Saw(grip="steel"), Hammer(), Tool()}) == 6


def test_parameters_are_the_fields():
    """As scikit-learn asks for them, so that a search finds `tool__length`."""
    assert Saw(length=0.1).get_params() == {"length": 0.1, "teeth": (0.9, 0.99), "folds": False, "grip": "wood"}
    assert Hammer().get_params(deep=False) == {}


@every_shipped
def test_what_is_shipped_is_public(cls):
    """Every registered component is exported, and says what it is in its docstring."""
    room = networks if issubclass(cls, networks.Network) else public
    assert getattr(room, cls.__name__) is cls
    assert cls.__name__ in room.__all__
    assert cls.__doc__ and not cls.__doc__.startswith(f"{cls.__name__}(")
