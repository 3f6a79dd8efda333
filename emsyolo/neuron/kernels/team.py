"""Compiled work shared among the threads that torch computes with.

Threads of our own would fight for the cores with those of OpenMP, which spin for milliseconds after every operator of
torch: on two cores a neuron took longer with two threads than with one.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import torch
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, typing
from numba.extending import intrinsic

SYMBOLS = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")


def _openmp() -> bool:
    """Make the OpenMP that torch has loaded known to the compiler; False where it is not GNU's or compatible."""
    for path in sorted((Path(torch.__file__).parent / "lib").glob("lib*omp*.so*")):
        library = ctypes.CDLL(str(path))
        if all(hasattr(library, name) for name in SYMBOLS):
            for name in SYMBOLS:
                address = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
                binding.add_symbol(f"emsyolo_{name}", address)
            return True
    return False


HAS_TEAM = _openmp()


@intrinsic
def in_team(context: Any, work: Any, count: Any, threads: Any, arguments: Any) -> Any:
    """`work(*arguments, begin, end)` by a number of OpenMP's threads, each on its part of `count` things.

    `work` is compiled; `arguments` a tuple, which stays alive in the caller.
    """
    call = work.get_call_type(context, (*arguments.types, types.intp, types.intp), {})

    def generate(context: Any, builder: ir.IRBuilder, signature: typing.Signature, values: Any) -> Any:
        _, count, threads, arguments_value = values
        word = context.get_value_type(types.intp)
        number, byte = ir.IntType(32), ir.IntType(8)
        shared = cgutils.pack_struct(builder, (count, arguments_value))
        place = cgutils.alloca_once_value(builder, shared)

        def external(name: str, result: Any, *of: Any) -> Any:
            return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, of), f"emsyolo_{name}")

        body_type = ir.FunctionType(ir.VoidType(), [byte.as_pointer()])
        body = ir.Function(builder.module, body_type, builder.module.get_unique_name("in_team"))
        body.linkage = "internal"
        inner = ir.IRBuilder(body.append_basic_block())
        loaded = inner.load(inner.bitcast(body.args[0], place.type))
        total, own = cgutils.unpack_tuple(inner, loaded, 2)
        mine = inner.sext(inner.call(external("omp_get_thread_num", number), []), word)
        team = inner.sext(inner.call(external("omp_get_num_threads", number), []), word)
        begin = inner.sdiv(inner.mul(total, mine), team)
        end = inner.sdiv(inner.mul(total, inner.add(mine, word(1))), team)
        compiled = work.dispatcher.overloads[call.args]
        context.add_linking_libs([compiled.library])
        own_arguments = cgutils.unpack_tuple(inner, own, len(arguments))
        # What it may raise is lost: there is no caller of numba's kind to raise it in.
        context.call_internal_no_propagate(inner, compiled.fndesc, call, [*own_arguments, begin, end])
        inner.ret_void()
        parallel = external("GOMP_parallel", ir.VoidType(), body_type.as_pointer(), byte.as_pointer(), number, number)
        builder.call(
            parallel, [body, builder.bitcast(place, byte.as_pointer()), builder.trunc(threads, number), number(0)]
        )
        return context.get_dummy_value()

    return types.void(work, types.intp, types.intp, arguments), generate


def shared(count: int, worth: int, work: Callable[..., None], by_all: Callable[..., None], *arguments: Any) -> None:
    """Do the work on all of `count` things, in as many threads as torch has.

    Args:
        count: of things; `work` gets the arguments and the first and last of its own.
        worth: the number that is worth another thread.
        work: compiled, without the interpreter's lock.
        by_all: the same through `in_team`: compiled `(count, threads, *arguments)`.
        arguments: of the work.
    """
    threads = max(1, min(torch.get_num_threads(), count // worth))
    if threads == 1:
        work(*arguments, 0, count)
    elif HAS_TEAM:
        by_all(count, threads, *arguments)
    else:
        size = -(-count // threads)
        begins = range(0, count, size)
        parts = [_pool(os.getpid()).submit(work, *arguments, b, min(b + size, count)) for b in begins]
        for part in parts:
            part.result()


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads of this process where there is no team; a fork has none of its parent's."""
    return ThreadPoolExecutor(thread_name_prefix="lif")
