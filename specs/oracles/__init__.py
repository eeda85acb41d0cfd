from specs.oracles import tensor as tensor
