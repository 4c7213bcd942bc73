"""Find the element that holds a list in an XML document, and tell absent from empty.

An XPath such as ``/r:list/r:record`` finds nothing both in an empty ``list`` and in a document
without one. The list is present when its container, ``/r:list``, exists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lxml import etree

from gateway.config.expressions.compiler import ExpressionError, compile_expression
from gateway.config.expressions.json_list_place import Gap, HasId

Select = Callable[[Any], list[Any]]

_ATOM_FEED = "{http://www.w3.org/2005/Atom}feed"
_ENVELOPES = (
    "{http://schemas.xmlsoap.org/soap/envelope/}",
    "{http://www.w3.org/2003/05/soap-envelope}",
)
_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_ERROR_NAME = re.compile(
    r"(?:error|fault|exception|problem|failure)s?|fault_?(?:code|string|actor)", re.IGNORECASE
)
_SUFFIXED_ERROR_NAME = re.compile(r"[a-z_-](?:Error|Fault|Exception|Failure)s?|ERROR|FAULT")
_NAME = r"[^\W\d][\w.-]*"
_NAMED_STEP = re.compile(rf"(?:child::)?((?:{_NAME}:)?{_NAME})\s*(?:\[.*\])?", re.DOTALL)
_WILDCARD_ROOT = re.compile(r"\.?/?(?:child::)?(?:\*|node\(\))\s*(?:\[.*\]\s*)?/", re.DOTALL)
_NAME_TEST = re.compile(r"\[.*(?:name\(\)|self::)")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_XPATH_WORDS = {"and", "or", "div", "mod"}
MAX_NAME, MAX_NAMESPACE, MAX_NAMES = 60, 120, 3
"""How much of the names in a reply a message repeats."""
_SCANNED = re.compile(r"\"[^\"]*\"|'[^']*'|[\[\]()|/]")


@dataclass(frozen=True, slots=True)
class _Branch:
    """One side of ``|``: the steps to the container, and the records below it."""

    prefixes: tuple[tuple[str, Select], ...]
    """The container and the shorter paths to it, the longest first."""
    missing: tuple[str, ...]
    """The step that follows each prefix."""
    same_elements: Select | None
    """The children that would be records without the predicates of the last step."""
    reads: frozenset[str]
    """The names that the predicates of the last step read."""
    spaces: str
    """The namespaces of the prefixes in the path, for a message."""


@dataclass(frozen=True, slots=True)
class XmlListPlace:
    """The place of a list, compiled from an XPath.

    ``is_derivable`` is false for a path such as ``//record``, which names no container. Then
    ``namespaces`` are those that an empty list may be in. A path such as ``/*/record`` has none,
    because it fits every reply.
    """

    branches: tuple[_Branch, ...]
    is_derivable: bool
    namespaces: frozenset[str]
    is_declared: bool = False

    def check_empty(self, root: Any, has_id: HasId | None = None) -> None:
        """Raise :class:`Gap` unless the document, in which no record was found, shows its list.

        A declared list may hold other elements, but none in which ``has_id`` finds a record's id.
        """
        refuse_error_elements(root)
        if not self.is_derivable:
            _check_whole_reply(root, self.namespaces)
            return
        gap: Gap | None = None
        for branch in self.branches:
            try:
                self._check_branch(branch, root, has_id)
            except Gap as error:
                gap = gap or error
            else:
                return
        if gap is not None:
            raise gap

    def _check_branch(self, branch: _Branch, root: Any, has_id: HasId | None) -> None:
        container, find = branch.prefixes[0]
        holders = find(root)
        if not holders:
            _raise_missing(branch, root)
        records = branch.same_elements
        for holder in holders:
            if not hasattr(holder, "iterchildren"):
                return  # an attribute or a text: the path does not end at elements
            _refuse_placeholder(holder, container)
            if self.is_declared and has_id and any(map(has_id, holder.iterchildren("*"))):
                raise Gap(container, "a list of other elements that have the id of a record")
            if len(holder) == 0 or self.is_declared or holder.tag == _ATOM_FEED:
                continue
            alike = records(holder) if records is not None else []
            if not alike:
                raise Gap(
                    container, _describe_content(holder), expected="records, or nothing at all"
                )
            if branch.reads and not any(holds_a_name(node, branch.reads) for node in alike):
                raise Gap(
                    container,
                    "a list of elements",
                    "a name that the condition in [ ] reads",
                )


def compile_xml_place(
    text: str, namespaces: Mapping[str, str], *, is_declared: bool = False
) -> XmlListPlace:
    """Compile the place of the list that an XPath of records names.

    With ``is_declared`` the path names the list itself, and the list may hold other elements too.
    """
    sides = [side.strip() for side in split_expression(text, "|")]
    branches: list[_Branch] = []
    is_derivable = True
    default = {""}
    for side in sides:
        branch = _compile_side(side, namespaces, is_declared=is_declared)
        if branch is None:
            is_derivable = False
            if _WILDCARD_ROOT.match(side):
                default = set()
        else:
            branches.append(branch)
    prefixes = re.findall(rf"({_NAME}):(?!:)", _unquoted(text))
    used = {namespaces[prefix] for prefix in prefixes if prefix in namespaces}
    return XmlListPlace(
        tuple(branches), is_derivable and bool(branches), frozenset(used or default), is_declared
    )


def _compile_side(side: str, namespaces: Mapping[str, str], *, is_declared: bool) -> _Branch | None:
    steps = list(split_expression(side, "/"))
    start = ""
    while steps and not steps[0].strip() and len(start) < len("//"):
        start += "/"
        steps.pop(0)
    if not steps or not all(step.strip() for step in _without_descents(steps)):
        return None
    if is_declared:
        container, last = steps, ""
    else:
        container, last = steps[:-1], steps[-1].strip()
        while container and not container[-1].strip():
            container = container[:-1]
        if not _names_a_place(start, container):
            return None
    try:
        return _branch(start, container, last, namespaces)
    except ExpressionError:
        return None


def _without_descents(steps: list[str]) -> list[str]:
    """Return the steps without the blank ones that ``//`` makes between two steps."""
    return [
        step for number, step in enumerate(steps) if step.strip() or number in {0, len(steps) - 1}
    ]


def _names_a_place(start: str, container: list[str]) -> bool:
    """Return whether a container has a name, or is the root element."""
    if any("(" in re.sub(r"\[.*\]", "", step, flags=re.DOTALL) for step in container):
        return False
    is_named = any(
        _NAMED_STEP.fullmatch(step.strip()) or _NAME_TEST.search(step) for step in container
    )
    return is_named or (start == "/" and not container)


def _branch(start: str, container: list[str], last: str, namespaces: Mapping[str, str]) -> _Branch:
    prefixes: list[tuple[str, Select]] = []
    missing: list[str] = []
    following = last
    for end in range(len(container), 0, -1):
        step = container[end - 1].strip()
        if not step:
            continue
        path = start + "/".join(container[:end])
        prefixes.append((path, _select(path, namespaces)))
        missing.append(following)
        following = step
    if not prefixes:  # the record is the root element
        prefixes, missing = [(start + last, _select(start + last, namespaces))], [last]
    name = _NAMED_STEP.fullmatch(last)
    bare = name[1] if name else ""
    has_condition = bool(name) and "[" in last
    reads = names_in_condition(last[len(bare) :])
    return _Branch(
        tuple(prefixes),
        tuple(missing),
        _select(bare, namespaces) if has_condition else None,
        reads if has_condition else frozenset(),
        _spell_namespaces("/".join((*container, last)), namespaces),
    )


def _spell_namespaces(path: str, namespaces: Mapping[str, str]) -> str:
    """Return the meaning of the prefixes of a path, for a message."""
    prefixes = dict.fromkeys(re.findall(rf"({_NAME}):(?!:)", _unquoted(path)))
    meanings = [f"{name} is {namespaces[name]}" for name in prefixes if name in namespaces]
    return f" ({', '.join(meanings)})" if meanings else ""


def _select(path: str, namespaces: Mapping[str, str]) -> Select:
    run = compile_expression("xml", path, namespaces).run
    return lambda node: run(node, {})


def _unquoted(text: str) -> str:
    return _QUOTED.sub("", text)


def names_in_condition(text: str) -> frozenset[str]:
    """Return the local names of the elements and attributes that an XPath condition reads."""
    names = re.findall(rf"(?:{_NAME}:)?({_NAME})(?![\w.-]*\s*[(:])", _unquoted(text))
    return frozenset(names) - _XPATH_WORDS


def holds_a_name(element: Any, names: frozenset[str]) -> bool:
    """Return whether an element or anything inside it has one of the local names."""
    return any(
        _local_name(node) in names or any(name.rpartition("}")[2] in names for name in node.attrib)
        for node in element.iter("*")
    )


def split_expression(text: str, separator: str) -> Iterator[str]:
    """Yield the parts of an XPath between separators outside of brackets and quotes."""
    depth = begin = 0
    for match in _SCANNED.finditer(text):
        mark = match[0]
        if mark in "[(":
            depth += 1
        elif mark in "])":
            depth -= 1
        elif mark == separator and depth == 0:
            yield text[begin : match.start()]
            begin = match.end()
    yield text[begin:]


def _raise_missing(branch: _Branch, root: Any) -> None:
    for (path, find), missing in zip(branch.prefixes[1:], branch.missing[1:], strict=True):
        if nodes := find(root):
            node = nodes[0]
            if getattr(node, "tag", "") == _ATOM_FEED and missing.rpartition(":")[2] == "entry":
                return
            raise Gap(path, _describe_content(node), f"`{missing}`{branch.spaces}")
    expected = f"`{branch.prefixes[-1][0]}`{branch.spaces}"
    raise Gap("", f"an element {name_element(root)}", expected=expected)


def name_element(element: Any) -> str:
    """Return the name of an element and its namespace, for a message."""
    name = etree.QName(element)
    namespace = f"in the namespace {name.namespace}" if name.namespace else "without a namespace"
    return f"`{name.localname[:MAX_NAME]}` {namespace[:MAX_NAMESPACE]}"


def _describe_content(node: Any) -> str:
    """Return what an element holds: the names of the first elements in it."""
    if not hasattr(node, "iterchildren") or len(node) == 0:
        return "an empty element"
    names = list(dict.fromkeys(name_element(child) for child in node.iterchildren("*")))
    shown = ", ".join(names[:MAX_NAMES]) + (" and others" if len(names) > MAX_NAMES else "")
    return f"an element with {shown} in it"


def _refuse_placeholder(holder: Any, place: str) -> None:
    """Raise for an element that only stands for a list: nil, a reference or a text."""
    if holder.get(_NIL, "").strip() in {"true", "1"}:
        raise Gap(place, "nil (xsi:nil)")
    if len(holder) == 0 and (holder.text or "").strip():
        raise Gap(place, "a text")
    if len(holder) == 0 and holder.get("href", "").startswith("#"):
        raise Gap(place, "a reference to another element (href)")


def _local_name(element: Any) -> str:
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def names_an_error(name: str) -> bool:
    """Return whether a local name is that of an error, such as ``faultCode`` or ``QueryError``."""
    return bool(_ERROR_NAME.fullmatch(name) or _SUFFIXED_ERROR_NAME.search(name))


def refuse_error_elements(root: Any) -> None:
    """Raise for a document without records whose outer elements report an error."""
    response = _response_of(root)
    outer = root if response is None else response
    for element in (outer, *outer.iterchildren(), *outer.iterfind("*/*")):
        name = _local_name(element)
        is_a_value = element is not outer and len(element) == 0 and not (element.text or "").strip()
        if names_an_error(name) and not is_a_value:
            raise Gap(name, "an element that reports an error")


def _response_of(root: Any) -> Any:
    """Return the element that a SOAP envelope carries, or ``None`` for another document."""
    for envelope in _ENVELOPES:
        if root.tag == f"{envelope}Envelope":
            body = root.find(f"{envelope}Body")
            if body is None or len(body) == 0:
                raise Gap("Envelope/Body", "an empty element", expected="the reply of the service")
            return body[0]
    return None


def _check_whole_reply(root: Any, namespaces: frozenset[str]) -> None:
    """Raise unless the reply is one empty element, in a namespace that the records are in."""
    response = _response_of(root)
    if response is None:
        response = root
    elif response.getnext() is not None:
        raise Gap("Envelope/Body", "several elements", expected="one element")
    tag = str(response.tag)
    namespace = tag[1:].partition("}")[0] if tag.startswith("{") else ""
    if len(response):
        content = _describe_content(response)
        raise Gap("", content, expected="an empty element, or a place under `list`")
    _refuse_placeholder(response, "")
    if namespace not in namespaces:
        expected = "an element in the namespace " + " or ".join(sorted(filter(None, namespaces)))
        if not namespaces:
            expected = "a list that the connector names"
        raise Gap("", f"an element {name_element(response)}", expected=expected)
