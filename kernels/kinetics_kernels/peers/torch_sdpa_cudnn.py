"""torch's attention held to its cuDNN backend."""

from __future__ import annotations

from torch.nn.attention import SDPBackend

from kinetics_kernels.peer_kinds.torch_sdpa_fused import TorchSdpaFused

PROVIDER = TorchSdpaFused("torch_sdpa_cudnn", SDPBackend.CUDNN_ATTENTION)
