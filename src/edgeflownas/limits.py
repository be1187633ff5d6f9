"""How large a file, and what it claims to hold, may be: judged before memory is taken.

Every file may come from a stranger.  A file beyond a limit is refused with its size and the limit, never read in part.
"""

KIB, MIB, GIB = 2**10, 2**20, 2**30

# --- text: JSON, YAML, lists, tables, logs ---

JSON = 64 * MIB  # our own are kilobytes, but for the next
FINGERPRINTS = 2 * GIB  # data_fingerprints.json: 100 bytes a file, so about seven million samples
MANIFEST = MIB  # manifest.json of a checkpoint
YAML = MIB  # recipes, config.yaml, datasets.yaml
LIST = 64 * MIB  # list files of data sets
TEXT = GIB  # tables and logs of runs

# --- pictures and flow ---

SIDE = 16384  # px of a picture or a flow
PIXELS = 2**27
DEFLATE = 1100  # bytes that one byte of deflate makes, at most 1032
PICTURE = GIB  # a picture that is no part of a data set
VIDEO_PIXELS = 2**25  # of a frame, 8K
HDF5_PIXELS = 2**25  # of a .flo5, on the grid of the images at twice their size
HDF5_CHUNK = 64 * MIB  # a chunk of a .flo5, decoded

# --- arrays and models ---

ARRAYS = 2 * GIB  # all entries of an .npz together, unpacked
ARRAYS_RATIO = 64  # unpacked bytes for each byte of an .npz: weights hardly pack at all
ARRAYS_FREE = 64 * MIB  # unpacked bytes of any .npz, however well it packs
ARRAY_ENTRIES = 10_000  # of an .npz or a .safetensors
ARRAY_DIMENSIONS = 8
TENSORS = 16 * GIB  # a .safetensors file
TENSORS_HEADER = 16 * MIB
MODEL = GIB  # a .tflite or .onnx file
MODEL_SECONDS = 900  # for a model from elsewhere to be loaded, or to answer once; reference kernels are slow
MODEL_MEMORY = 16 * GIB  # addresses of the process that runs one
