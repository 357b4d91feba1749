"""What a stage trains by: loss, class weights, learning rate, early stopping, mixup. One file each."""
