"""Operators that are called past torch's dispatcher where nobody watches: it costs the host more than a launch does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def watched(x: Tensor) -> bool:
    """Whether calls on a map must be seen by torch: compiling, a mode that follows operations, a kind of tensor."""
    if torch.compiler.is_compiling() or type(x) not in (Tensor, nn.Parameter):
        return True
    return torch._C._len_torch_dispatch_stack() > 0 or torch._C._functorch.peek_interpreter_stack() is not None


class Direct:
    """An operator of torch, or what it runs, whichever is right; the same results for all arguments, by position.

    Args:
        operator: as torch knows it.
        run: what it runs, on any device.
        setup, backward: of its gradient, as `register_autograd` takes them; None: it has none.
    """

    def __init__(
        self,
        operator: Callable[..., Any],
        run: Callable[..., Any],
        setup: Callable[..., None] | None = None,
        backward: Callable[..., Any] | None = None,
    ) -> None:
        self._operator, self._run = operator, run
        self._apply: Any = None
        if setup is not None and backward is not None:
            self._apply = _apply_of(run, setup, backward)

    def __call__(self, x: Tensor, *more: Any) -> Any:
        """What the operator gives."""
        if watched(x):
            return self._operator(x, *more)
        if self._apply is None or not _needs_gradient(x, *more):
            return self._run(x, *more)
        return self._apply(x, *more)


def differentiable(
    operator: Any,
    run: Callable[..., Any],
    setup: Callable[..., None],
    backward: Callable[..., Any],
    outputs: Sequence[int] = (0,),
) -> Direct:
    """Register the gradient of an operator, and give the operator as `Direct`.

    The gradients of outputs that nobody reads are not zeros but None: to make those up is a launch each.

    Args:
        operator: a custom operator of torch.
        run: what it runs, on any device.
        setup: as `register_autograd` takes it.
        backward: the gradients of all inputs from the context and the gradients of `outputs`, one of which is not None.
        outputs: the places of those that are differentiable.
    """

    def set_up(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        setup(ctx, inputs, output)
        ctx.set_materialize_grads(False)
        ctx.inputs = len(inputs)

    def back(ctx: Any, *grads: Tensor | None) -> Any:
        found = [grads[place] for place in outputs]
        return (None,) * ctx.inputs if all(grad is None for grad in found) else backward(ctx, *found)

    operator.register_autograd(back, setup_context=set_up)
    return Direct(operator, run, set_up, back)


def _apply_of(run: Callable[..., Any], setup: Callable[..., None], backward: Callable[..., Any]) -> Any:
    """What applies a function of autograd, for calls that nobody watches."""

    def forward(ctx: Any, *inputs: Any) -> Any:  # a `setup_context` of its own costs the look at a signature each time
        output = run(*inputs)
        setup(ctx, inputs, output)
        return output

    once = once_differentiable(backward)

    def back(ctx: Any, *grads: Any) -> Any:
        return (once if torch.is_grad_enabled() else backward)(ctx, *grads)  # it is, where a graph of gradients is made

    parts = {"forward": staticmethod(forward), "backward": staticmethod(back)}
    function = type(run.__name__, (torch.autograd.Function,), parts)
    # Its own `apply` looks for functorch first, which `watched` has done.
    return super(torch.autograd.Function, function).apply  # type: ignore[misc]


def _needs_gradient(*inputs: Any) -> bool:
    return torch.is_grad_enabled() and any(isinstance(one, Tensor) and one.requires_grad for one in inputs)
