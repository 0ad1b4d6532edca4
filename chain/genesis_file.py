"""Genesis as people read and write it: one JSON object.

Addresses are bech32m text, amounts decimal coins in strings ("1.5"), an era's parameters an object.
``time_ms`` counts; ``time`` says the same for people and is refused where it contradicts. Nothing
is guessed: an unknown or repeated field, a float, a missing field are errors that name the place.

==================  ==========================================================================
code                when
==================  ==========================================================================
genesis-json        not JSON, too large, a field missing, unknown, repeated or of a wrong type
genesis-amount      a decimal coin amount that is none
others              those of parse_address and Genesis.check
==================  ==========================================================================
"""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

import msgspec

from chain import codec
from chain.address import PREFIXES, Address
from chain.bech32m import parse_address, show_address
from chain.codec import UINT63_MAX
from chain.errors import InvalidEncoding
from chain.genesis import COIN, Allocation, Era, Genesis, Limits, Parameter
from chain.validators import Validator

GENESIS_FILE_SIZE_MAX: Final = 4 * 1024 * 1024
"""Bytes of a genesis file: some ten thousand allocations with room to spare."""

_FIELDS: Final = (
    *("format", "name", "network", "time", "time_ms"),
    *("eras", "validators", "allocations", "limits", "faucet"),
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def genesis_to_json(genesis: Genesis) -> str:
    """The people's form: indented, fields always in the same order, a newline at the end."""
    prefix = genesis.prefix
    people: dict[str, Any] = {
        "format": genesis.format,
        "name": genesis.name,
        "network": genesis.network,
        "time": _show_time(genesis.time_ms),
        "time_ms": genesis.time_ms,
        "eras": [
            {
                "from_height": era.from_height,
                "engine": era.engine,
                "parameters": dict(era.parameters),
            }
            for era in genesis.eras
        ],
        "validators": [
            {
                "address": show_address(validator.address, prefix),
                "weight": validator.weight,
                "name": validator.name,
            }
            for validator in genesis.validators
        ],
        "allocations": [
            {
                "address": show_address(allocation.address, prefix),
                "amount": _show_coins(allocation.amount),
            }
            for allocation in genesis.allocations
        ],
        "limits": msgspec.structs.asdict(genesis.limits),
        "faucet": None if genesis.faucet is None else show_address(genesis.faucet, prefix),
    }
    return json.dumps(people, indent=2, ensure_ascii=False) + "\n"


def genesis_from_json(text: str) -> Genesis:
    """The genesis that ``text`` describes, checked. Raises InvalidEncoding with a sentence."""
    whole = _object(_load(text), "genesis", _FIELDS, optional=("time", "limits", "faucet"))
    network = _text(whole["network"], "network")
    if network not in PREFIXES:
        raise InvalidEncoding("genesis-network", f"network must be one of {list(PREFIXES)}")
    prefix = PREFIXES[network]
    time_ms = _integer(whole["time_ms"], "time_ms")
    _check_time(whole.get("time"), time_ms)
    faucet = whole.get("faucet")
    genesis = Genesis(
        format=_integer(whole["format"], "format"),
        name=_text(whole["name"], "name"),
        network=network,
        time_ms=time_ms,
        eras=tuple(
            _era(item, f"eras[{position}]")
            for position, item in enumerate(_list(whole["eras"], "eras"))
        ),
        validators=tuple(
            _validator(item, f"validators[{position}]", prefix)
            for position, item in enumerate(_list(whole["validators"], "validators"))
        ),
        allocations=tuple(
            _allocation(item, f"allocations[{position}]", prefix)
            for position, item in enumerate(_list(whole["allocations"], "allocations"))
        ),
        limits=_limits(whole.get("limits")),
        faucet=None if faucet is None else _address(faucet, "faucet", prefix),
    )
    try:
        # The types' own bounds (lengths, ranges), which building a struct does not check.
        genesis = codec.decode(codec.encode(genesis), Genesis)
    except InvalidEncoding as error:
        raise InvalidEncoding("genesis-json", f"a value is out of bounds: {error}") from None
    genesis.check()
    return genesis


def _load(text: str) -> Any:
    if len(text) > GENESIS_FILE_SIZE_MAX or len(text.encode(errors="replace")) > (
        GENESIS_FILE_SIZE_MAX
    ):
        _refuse(f"a genesis file has at most {GENESIS_FILE_SIZE_MAX} bytes")
    try:
        return json.loads(
            text,
            object_pairs_hook=_pairs,
            parse_float=lambda number: _refuse(f"{number} is not an integer"),
            parse_constant=lambda name: _refuse(f"{name} is not a value"),
        )
    except RecursionError:
        _refuse("nested too deep")
    except json.JSONDecodeError as error:
        _refuse(f"not JSON: {error.msg} in line {error.lineno}, column {error.colno}")
    except ValueError:  # an integer of thousands of digits
        _refuse("a number is too large")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            _refuse(f"the field {name!r} stands twice in one object")
        result[name] = value
    return result


def _refuse(sentence: str) -> NoReturn:
    raise InvalidEncoding("genesis-json", sentence)


def _object(
    value: Any, place: str, fields: Collection[str], optional: Collection[str] = ()
) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(f"{place} must be an object")
    for name in value:
        if name not in fields:
            _refuse(f"{place} has an unknown field {name!r}")
    for name in fields:
        if name not in value and name not in optional:
            _refuse(f"{place} lacks the field {name!r}")
    return value


def _list(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        _refuse(f"{place} must be a list")
    return value


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        _refuse(f"{place} must be a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        _refuse(f"{place} holds half of a surrogate pair")
    return value


def _integer(value: Any, place: str, least: int = 0) -> int:
    # bool is a subclass of int in Python, and true is no number here.
    if isinstance(value, bool) or not isinstance(value, int):
        _refuse(f"{place} must be an integer")
    if not least <= value <= UINT63_MAX:
        _refuse(f"{place} must lie between {least} and {UINT63_MAX}")
    return value


def _address(value: Any, place: str, prefix: str) -> Address:
    try:
        return parse_address(_text(value, place), prefix)
    except InvalidEncoding as error:
        raise InvalidEncoding(error.code, f"{place}: {error.sentence}") from None


def _era(value: Any, place: str) -> Era:
    era = _object(value, place, ("from_height", "engine", "parameters"), optional=("parameters",))
    parameters = era.get("parameters", {})
    if not isinstance(parameters, dict):
        _refuse(f"{place}.parameters must be an object")
    return Era(
        _integer(era["from_height"], f"{place}.from_height"),
        _text(era["engine"], f"{place}.engine"),
        tuple(_parameter(name, parameters[name], place) for name in sorted(parameters)),
    )


def _parameter(name: str, value: Any, place: str) -> Parameter:
    where = f"{place}.parameters.{_text(name, f'a name in {place}.parameters')}"
    if isinstance(value, str):
        return name, _text(value, where)
    return name, _integer(value, where, least=-UINT63_MAX)


def _validator(value: Any, place: str, prefix: str) -> Validator:
    item = _object(value, place, ("address", "weight", "name"), optional=("weight", "name"))
    return Validator(
        _address(item["address"], f"{place}.address", prefix),
        _integer(item.get("weight", 1), f"{place}.weight", least=1),
        _text(item.get("name", ""), f"{place}.name"),
    )


def _allocation(value: Any, place: str, prefix: str) -> Allocation:
    item = _object(value, place, ("address", "amount"))
    return Allocation(
        _address(item["address"], f"{place}.address", prefix),
        _coins(item["amount"], f"{place}.amount"),
    )


def _limits(value: Any) -> Limits:
    if value is None:
        return Limits()
    names = Limits.__struct_fields__
    item = _object(value, "limits", names, optional=names)
    return Limits(**{name: _integer(item[name], f"limits.{name}") for name in item})


def _coins(value: Any, place: str) -> int:
    """Base units of a decimal string: digits, then at most a point and eight digits."""
    sentence = f'{place} must be coins as a decimal string such as "1.5", at most 8 decimals'
    if not isinstance(value, str):
        raise InvalidEncoding("genesis-amount", sentence)
    whole, point, decimals = value.partition(".")
    digits = whole + decimals
    if (
        not (digits.isascii() and digits.isdigit())
        or not whole
        or bool(point) != bool(decimals)
        or len(decimals) > 8
        or len(whole) > 20
    ):
        raise InvalidEncoding("genesis-amount", sentence)
    amount = int(whole) * COIN + int(decimals.ljust(8, "0"))
    if amount > UINT63_MAX:
        raise InvalidEncoding("genesis-amount", f"{place} is more coins than may ever exist")
    return amount


def _show_coins(amount: int) -> str:
    whole, rest = divmod(amount, COIN)
    return f"{whole}.{rest:08d}".rstrip("0").rstrip(".") if rest else str(whole)


def _show_time(time_ms: int) -> str:
    """ISO 8601 in UTC with milliseconds; a checked genesis lies before the year 2107."""
    moment = _EPOCH + timedelta(milliseconds=time_ms)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03d}Z"


def _check_time(value: Any, time_ms: int) -> None:
    if value is None:
        return
    try:
        moment = datetime.fromisoformat(_text(value, "time"))
    except ValueError:
        _refuse("time must be an ISO 8601 time such as 2026-01-31T12:00:00.000Z")
    if moment.tzinfo is None:
        _refuse("time must name its zone: put a Z at its end")
    if (moment - _EPOCH) // timedelta(milliseconds=1) != time_ms:
        _refuse(
            f"time and time_ms name different moments; time_ms {time_ms} is the one that counts"
        )
