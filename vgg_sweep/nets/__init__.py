"""The nets: Table 1 as layers (`columns`) and as one module (`vgg`), first weights (`start`), files (`weights`)."""
