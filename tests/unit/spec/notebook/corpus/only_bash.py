# %%
%%bash
pip install torch
python train.py --lr 2e-4
# %%
%%writefile train.py
from transformers import Trainer
Trainer(model="x").train()
# %%
!torchrun train.py \
   --epochs 3
