# %%
from unsloth import FastLanguageModel
from trl import SFTTrainer, SFTConfig
from datasets import load_dataset
model, tok = FastLanguageModel.from_pretrained("acme/small-1b", max_seq_length=1024, load_in_4bit=False)
model = FastLanguageModel.get_peft_model(model, r=8, lora_alpha=8, use_gradient_checkpointing=True)
SFTTrainer(model=model, tokenizer=tok, max_seq_length=2048, train_dataset=load_dataset("acme/chat", split="train"), args=SFTConfig("o", max_steps=1)).train()
