"""Centres on disk: tied to their encoder; published ones are read from pickles without running what is in them."""

import base64
import hashlib
import io
import os
import pickle
import tracemalloc
import zlib
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from sklearn.cluster import KMeans, MiniBatchKMeans

from slm.speech.centres import Centres, read_centres, read_published, save_centres

FRAMES = np.random.default_rng(0).normal(size=(60, 5))
JOBLIB_1_1 = (  # joblib.dump of joblib 1.1.1, which wrote no padding: KMeans(2) of scikit-learn, compressed here
    "c-n1Jzi$&U6uwK+CXFgu#E(ja8MR7#5UD~Sm9!{BB~H!20uo4;@6N?XeD=xqK{Fu1KnapJUj7DFr0!H=V5R>646I$*!RMwVDtNH{p5L>-@ALP%"
    "HahV=H_VdiGlC@#Vpb?kWPth^!CZlv4R_t<1FXJ*SFmE59F2<<gcVaud8)z8_19fPs|BW!;eC|a0@z*iO;rm9J6p@Qf1X_LuA5noTu11e`U@f>"
    "p$LSYnU|O+B11}J?Gm%G$OmX2hGq`4XF{f$W?*I*6N3cI1&;Oz)`cX>UWXv8ni?t}GFN$#<%0mlLXsdWm`<^jcwmXB7&9y_5i{dz?3(C7PRdMW"
    "Zv);B-@!vzu~+$<(ChUc{I<hQp{F70)_y$scn1z_jj5vvizb@jqYF0VNK;90;^bKzYlULMOUV$JOV35b(kO5sP@cwCdN3DzWq7~D`bgqDCvqZr"
    "LlsfXuu?#;m^x2R8I?p7#g;%=39AP-5;C!E#_#^6Mwd+!Tg_ggEW<eri|A<k>Cvxmho3(kZfqWZCtHuvm(FqRYiESKu@@H5l(?eMC5<}65n&cR"
    "y>W_(uF@7=3opL~8qk~c7F{xxbV@^d?Oz3H+rB?`oOiZ*Q?Y+8@BioQeBY>ZhP#n+BJFo0*x9}}-*&k=cSdvuSwv%#BkMbr3T{<u2X})u6jAU8"
    "m&g+2"
)


def published(path: Path, content: bytes) -> np.ndarray:
    path.write_bytes(content)
    return read_published(path, hashlib.sha256(content).hexdigest())


def dumped(thing, **options) -> bytes:
    file = io.BytesIO()
    joblib.dump(thing, file, **options)
    return file.getvalue()


def kmeans(kind=KMeans, dtype="float64", **options):
    return kind(4, n_init=1, random_state=0, **options).fit(FRAMES.astype(dtype))


def test_centres_come_back_and_only_for_their_encoder(tmp_path):
    array = FRAMES.astype(np.float32)
    save_centres(tmp_path / "c.safetensors", Centres(array=array, encoder="mfcc-25hz-v1"))
    found = read_centres(tmp_path / "c.safetensors", "mfcc-25hz-v1")
    assert np.array_equal(found.array, array) and found.array.dtype == np.float32 and found.encoder == "mfcc-25hz-v1"
    with pytest.raises(ValueError, match="c.safetensors: centres of encoder mfcc-25hz-v1, but .* logmel-25hz-v1"):
        read_centres(tmp_path / "c.safetensors", "logmel-25hz-v1")


def test_missing_and_torn_centres_are_named(tmp_path):
    path = tmp_path / "c.safetensors"
    with pytest.raises(ValueError, match="c.safetensors: no readable centres"):
        read_centres(path, "e")
    save_centres(path, Centres(array=np.ones((2, 2), np.float32), encoder="e"))
    no_matrix = save({"centres": np.ones(3, np.float32)}, metadata={"encoder": "e"})
    for content in (path.read_bytes()[:-1], no_matrix, save({"other": FRAMES}, metadata={"encoder": "e"})):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="c.safetensors: no readable centres"):
            read_centres(path, "e")


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_joblib_files_of_scikit_learn_are_read(tmp_path, kind, dtype, protocol):
    model = kmeans(kind, dtype)
    found = published(tmp_path / "km.bin", dumped(model, protocol=protocol))
    assert found.dtype == np.float32 and np.array_equal(found, model.cluster_centers_.astype(np.float32))


def test_a_random_state_and_fortran_order_and_foreign_bytes_are_read(tmp_path):
    model = kmeans()
    model.random_state = np.random.RandomState(1)
    for centres in (np.asfortranarray(model.cluster_centers_), model.cluster_centers_.astype(">f8")):
        model.cluster_centers_ = centres
        found = published(tmp_path / "km.pt", dumped(model))
        assert np.array_equal(found, centres.astype(np.float32)) and found.flags.c_contiguous


def test_joblib_without_padding_is_read(tmp_path):
    found = published(tmp_path / "old.bin", zlib.decompress(base64.b85decode(JOBLIB_1_1)))
    np.testing.assert_allclose(found, [[-0.860363, -0.351196, 0.011029], [0.897916, 0.379634, 0.386755]], atol=1e-6)

    class Pipe(io.BytesIO):
        """joblib writes no padding where it cannot tell the position."""

        def tell(self):
            raise io.UnsupportedOperation

    file = Pipe()
    joblib.dump(kmeans(), file)
    found = published(tmp_path / "pipe.bin", file.getvalue())
    assert np.array_equal(found, kmeans().cluster_centers_.astype(np.float32))


def test_npy_and_safetensors_are_read(tmp_path):
    for array in (FRAMES.astype(np.float32), np.asfortranarray(FRAMES)):
        file = io.BytesIO()
        np.save(file, array)
        assert np.array_equal(published(tmp_path / "c.npy", file.getvalue()), array.astype(np.float32))
    assert np.array_equal(published(tmp_path / "c.st", save({"centroids": FRAMES})), FRAMES.astype(np.float32))


def test_another_sha256_is_refused_with_both(tmp_path):
    path = tmp_path / "km.bin"
    path.write_bytes(b"abc")
    with pytest.raises(ValueError, match="km.bin: SHA-256 ba7816bf.*, 00000000.* expected"):
        read_published(path, "0" * 64)
    with pytest.raises(ValueError, match="nothing.bin: no such file"):
        read_published(tmp_path / "nothing.bin", "0" * 64)


def with_objects():
    model = kmeans()
    model.feature_names_in_ = np.array(["a", "b"], dtype=object)
    return model


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: dumped(kmeans(), compress=3), "zlib-compressed joblib"),
        (lambda: dumped(kmeans(), compress=("gzip", 3)), "gzip-compressed"),
        (lambda: dumped(with_objects()), "array of Python objects"),
        (lambda: pickle.dumps(kmeans()), "k-means"),
        (lambda: dumped({"cluster_centers_": FRAMES}), "not of a scikit-learn object"),
        (lambda: dumped(joblib.Memory(None)), "joblib.memory.Memory, scikit-learn's KMeans"),
        (lambda: save({"a": FRAMES, "b": FRAMES}), "2 tensors"),
        (lambda: save({"a": FRAMES[0]}), "float64 of shape \\(5,\\)"),
        (lambda: save({"a": FRAMES * np.nan}), "not finite"),
        (lambda: save({"a": FRAMES * 1e300}), "not finite"),
        (lambda: save({"a": np.zeros((0, 5))}), "shape \\(0, 5\\)"),
        (lambda: b"PK\x03\x04", "zip archive"),
        (lambda: b"", "begins b''"),
    ],
)
def test_what_is_no_file_of_centres_is_refused_with_the_reason(tmp_path, make, reason):
    with pytest.raises(ValueError, match=f"km.bin: no readable centres .*{reason}"):
        published(tmp_path / "km.bin", make())


class Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_code_in_a_pickle_does_not_run(tmp_path, protocol):
    marker, model = tmp_path / "ran", kmeans()
    model.verbose = Hostile(marker)
    pickle.loads(pickle.dumps(Hostile(marker)))
    assert marker.exists(), "the pickle is a dangerous one"
    marker.unlink()
    contents = [dumped(model, protocol=protocol), pickle.dumps(Hostile(marker), protocol)]
    model = kmeans()
    model.cluster_centers_ = Hostile(marker)
    for content in [*contents, dumped(model, protocol=protocol)]:
        try:
            published(tmp_path / "km.bin", content)
        except ValueError as error:
            assert "km.bin" in str(error)
        assert not marker.exists()


def test_sizes_are_checked_before_memory_is_taken(tmp_path):
    model = kmeans()
    model.cluster_centers_ = np.zeros((123, 5), np.float32)
    content = dumped(model)
    assert content.count(b"K\x7bK\x05\x86") == 1
    huge = content.replace(b"K\x7bK\x05\x86", b"\x8a\x06" + b"\xff" * 5 + b"\x00" + b"K\x05\x86")
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 4)}
    npy = io.BytesIO()
    np.lib.format.write_array_header_1_0(npy, header)
    bytearray8 = b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b"."
    tracemalloc.start()
    for content in (huge, npy.getvalue(), bytearray8):
        with pytest.raises(ValueError, match="km.bin: no readable centres"):
            published(tmp_path / "km.bin", content)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


def nested(levels: int) -> bytes:
    """A pickle of a dict whose key is a tuple of tuples, each twice in the next: its hash takes 2**levels steps."""
    doubled = b"".join(b"q\x01h\x01\x86" for _ in range(levels))
    return b"\x80\x02}" + b")" + doubled + b"K\x01s."


def test_a_key_that_takes_forever_to_hash_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match="other keys than strings"):
        published(tmp_path / "km.bin", nested(100))


WHOLE = {
    "joblib": dumped(kmeans()),
    "old": zlib.decompress(base64.b85decode(JOBLIB_1_1)),
    "safetensors": save({"centroids": FRAMES}),
    "npy": b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }".ljust(128) + b"a" * 24,
}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_torn_and_flipped_files_are_centres_or_a_named_error(tmp_path, data):
    content = bytearray(WHOLE[data.draw(st.sampled_from(sorted(WHOLE)))])
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    content = bytes(content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))])
    try:
        found = published(tmp_path / "km.bin", content)
    except ValueError as error:
        assert str(error).startswith(f"{tmp_path / 'km.bin'}: ") and "\n" not in str(error)
    else:
        assert found.ndim == 2 and found.dtype == np.float32 and np.isfinite(found).all()
