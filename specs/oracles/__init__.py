from specs.oracles import activations as activations
from specs.oracles import layers as layers
from specs.oracles import losses as losses
from specs.oracles import optimizers as optimizers
from specs.oracles import spatial as spatial
from specs.oracles import tensor as tensor
from specs.oracles import tokenization as tokenization
from specs.oracles import training as training
