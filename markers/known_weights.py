"""Published weights files: where each lies, how long it is, its sha256, and under which licence it may be used."""

from collections.abc import Mapping
from dataclasses import dataclass

_AGPL = "AGPL-3.0, or a licence bought from Ultralytics"
_ASSETS = "https://github.com/ultralytics/assets/releases/download/v8.4.0/"
_SAM = "https://dl.fbaipublicfiles.com/segment_anything/"
_CLIP_SHA256 = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"


@dataclass(frozen=True)
class KnownWeights:
    """A published weights file and what must come out when it is fetched."""

    name: str
    url: str
    size_bytes: int
    sha256: str
    licence: str


# sizes and digests: as GitHub publishes them with the release; those of yolo11*-seg are also the LFS pointers of
# huggingface.co/Ultralytics/YOLO11 at commit 5df55ae
_YOLO = (
    ("yolo11n.pt", 5613764, "0ebbc80d4a7680d14987a577cd21342b65ecfd94632bd9a8da63ae6417644ee1"),
    ("yolo11s.pt", 19313732, "85a76fe86dd8afe384648546b56a7a78580c7cb7b404fc595f97969322d502d5"),
    ("yolo11m.pt", 40684120, "d5ffc1a674953a08e11a8d21e022781b1b23a19b730afc309290bd9fb5305b95"),
    ("yolo11l.pt", 51387343, "9ebd0e09d59811db4b1d61e2bc6730649608b1ac47f8dd01e2da6bca7c20023f"),
    ("yolo11x.pt", 114636239, "7bc158aa95c0ebfdd87f70f01653c1131b93e92522dbe15c228bcd742e773a24"),
    ("yolo11n-seg.pt", 6182636, "55ed65c56c91713d23e8402371c6c49a6fd84f257f7dce452e8d70e41dcbe152"),
    ("yolo11s-seg.pt", 20669228, "1caa81c0195412efa411b632bcfb8c184939dddb6ae41f6a80c41b211ff257c3"),
    ("yolo11m-seg.pt", 45400152, "eb9a06f63e2206c35d68d839b08c362429ebecf933ad54c1ad68b2fd001c17cf"),
    ("yolo11l-seg.pt", 56096965, "cabe90049795dfc9a370b7934d6dec7f6b9e44a20e573b0ff81b7e205512c872"),
    ("yolo11x-seg.pt", 125090821, "4e53a5f5fd3ee2ae3361c62169c6bb3ed4ae251dd0e57606e230955aa52d919c"),
    ("yolo26n-seg.pt", 6719965, "361fbfabab285c3237700b6bb91d7ecfa602cd945fffda8dbe1242829b71e73f"),
    ("yolo26s-seg.pt", 23467933, "3da1d83e31caec96f9300eb4064f4f62882c133c7c264d63dfe61a7c197837a4"),
    ("yolo26m-seg.pt", 54750385, "16b636f04e8fb6a325b3370f22dc5e5535ff473e384f4d041fd28d788f6ee9f5"),
    ("yolo26l-seg.pt", 63700037, "636024306410afa1732692322fba57d22ea2b1c2f07613fcee131a93d7dd380c"),
    ("yolo26x-seg.pt", 142129861, "92b3de0065766a17180d6219858717dc9d03cdce8a3ca9576c97fd75aabb64f3"),
    ("yolov8n-seg.pt", 7071756, "a7cd8f929e1903d78a12a48efecab430209f18dc46cb96c3599a5980c63c423c"),
    ("yolov8s-seg.pt", 23914764, "0bac0770b55e5eb5b76a61bc535673288dcec36c2bc0cd25ee0d584c632f3413"),
    ("yolov8m-seg.pt", 54921020, "51fa7e5ef385efa6d5b1d8e31b73399be6ed5d7ca71bda4bd4b2794bb445c4f4"),
    ("yolov8l-seg.pt", 92417004, "ca3ec94c445aeaf79c2b57982fb451060f18a7561e2c20b4d26bb9dc1fcabf93"),
    ("yolov8x-seg.pt", 144101612, "c333d6a7aff884ec821050eacdab29871f3edd10d996cf48746a02f8e01f1b5d"),
    ("yolov8x-worldv2.pt", 146355704, "41e771bfbbb8894dd857f3fef7cac3b3578dffd49fd3547101efa6a606a02a0e"),
    ("yoloe-11s-seg.pt", 27803986, "8e439445c87338b79d9ce21dec109f4621e26df67e94d26ea1a98c1e64dce3e3"),
    ("yoloe-11l-seg.pt", 70982416, "a993fb0fc7c8830939ae14e6434a925dd1179428158c2761482eb8a8d8a3699f"),
)
# digests: as micro-sam, 3D Slicer's extension and others check them; sizes from two more lists
_SEGMENT_ANYTHING = (
    ("sam_vit_b_01ec64.pth", 375042383, "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"),
    ("sam_vit_l_0b3195.pth", 1249524607, "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"),
    ("sam_vit_h_4b8939.pth", 2564550879, "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"),
)

KNOWN: Mapping[str, KnownWeights] = {
    **{name: KnownWeights(name, _ASSETS + name, size, sha256, _AGPL) for name, size, sha256 in _YOLO},
    **{name: KnownWeights(name, _SAM + name, size, sha256, "Apache-2.0") for name, size, sha256 in _SEGMENT_ANYTHING},
}
"""Name to file: fetched once when it is asked for by this name."""


@dataclass(frozen=True)
class TextEncoder:
    """What an open-vocabulary detector turns class names into numbers with; put in place by hand."""

    place: str
    """Below the folder of fetched weights."""
    url: str
    sha256: str
    licence: str


TEXT_ENCODERS: Mapping[str, TextEncoder] = {
    "clip:ViT-B/32": TextEncoder(
        "clip/ViT-B-32.pt",
        f"https://openaipublic.azureedge.net/clip/models/{_CLIP_SHA256}/ViT-B-32.pt",
        _CLIP_SHA256,
        "MIT",
    ),
    "mobileclip:blt": TextEncoder(
        "mobileclip_blt.ts",
        f"{_ASSETS}mobileclip_blt.ts",
        "a67804d1b0f07b8b9a20c1761ec0847f34660f5fa338ec70e8f3fce68ed95e54",
        "Apple's licence of the MobileCLIP weights",
    ),
    "mobileclip2:b": TextEncoder(
        "mobileclip2_b.ts",
        f"{_ASSETS}mobileclip2_b.ts",
        "35d7f213e4d75f38514e4656ad3cb91158bd33e3805d8ac349f23b186f66982f",
        "Apple's licence of the MobileCLIP2 weights",
    ),
}
"""ultralytics' name of the encoder to its file."""
