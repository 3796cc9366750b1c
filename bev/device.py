"""On which device torch runs."""

from bev.errors import UserError, require


def choose_device(device: str | None, extra: str = "video") -> str:
    """The device that was asked for, or CUDA where there is one, else the CPU.

    Args:
        device: a torch device such as "cpu", "cuda" or "cuda:1"; None chooses.
        extra: the extra of this distribution that brings torch for the caller's purpose.

    Raises:
        UserError: torch is missing, does not know that device, or this machine lacks it.
    """
    torch = require("torch", extra)
    cuda_count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device is None:
        return "cuda:0" if cuda_count else "cpu"
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"device {device!r}: torch does not know it; give cpu, cuda or cuda:1") from error
    if wanted.type == "cuda" and (wanted.index or 0) >= cuda_count:
        raise UserError(f"device {device!r}: torch sees {cuda_count} CUDA devices here; give another, or cpu")
    return f"cuda:{wanted.index or 0}" if wanted.type == "cuda" else str(wanted)
