use cdk_common::{
    Amount,
    database::wallet::test as conformance,
    nuts::{Proof, ProofDleq, SecretKey},
    secret::Secret,
};
use guilder_protocol::time::Timestamp;

use super::*;
use crate::{runtime::Inline, store::testing::CrashBackend};

const LOCKED: &str = concat!(
    r#"["P2PK",{"nonce":"859d4935c4907062a6297cf4e663e2835d90d97ecdd510745d32f6816323a41f","#,
    r#""data":"0249098aa8b9d2fbec49ff8598feb17b592b986e62319a4fa488a3dc36387157a7","#,
    r#""tags":[["locktime","1800000000"],["sigflag","SIG_INPUTS"]]}]"#,
);

async fn open(disk: &CrashBackend) -> WalletDb {
    let runtime = Runtime::with(Inline);
    let store = Store::with_backend(disk.backend(), &runtime).await.unwrap();
    WalletDb::new(store, runtime)
}

async fn database() -> WalletDb {
    open(&CrashBackend::new()).await
}

/// cdk's own tests for a wallet database.
macro_rules! conforms {
    ($($test:ident),* $(,)?) => {
        mod conforms {
            use super::*;

            $(
                #[tokio::test]
                async fn $test() {
                    conformance::$test(database().await).await;
                }
            )*
        }
    };
}

conforms![
    add_and_get_mint,
    add_mint_without_info,
    remove_mint,
    update_mint_url,
    add_and_get_keysets,
    get_keyset_by_id_in_transaction,
    add_and_get_keys,
    get_keys_in_transaction,
    remove_keys,
    add_and_get_mint_quote,
    get_mint_quote_in_transaction,
    remove_mint_quote,
    add_and_get_melt_quote,
    get_melt_quote_in_transaction,
    remove_melt_quote,
    add_mint_quote_optimistic_locking,
    add_melt_quote_optimistic_locking,
    add_and_get_proofs,
    get_proofs_in_transaction,
    update_proofs,
    update_proofs_state,
    filter_proofs_by_unit,
    filter_proofs_by_state,
    get_balance,
    get_balance_by_state,
    increment_keyset_counter,
    keyset_counter_isolation,
    increment_derivation_counter,
    derivation_counters_are_independent,
    derivation_counter_is_atomic,
    add_and_get_transaction,
    update_transaction_status,
    same_proofs_in_different_sagas,
    list_transactions,
    filter_transactions_by_mint,
    remove_transaction,
    kvstore_write_and_read,
    kvstore_list,
    kvstore_update,
    kvstore_remove,
    kvstore_namespace_isolation,
    add_and_get_p2pk_key,
    list_p2pk_keys_empty,
    list_p2pk_keys_multiple,
    latest_p2pk_empty,
    add_and_get_saga,
    update_saga_optimistic_locking,
    delete_saga,
    get_incomplete_sagas,
    reserve_proofs,
    release_proofs,
    release_proofs_preserves_spent,
    get_reserved_proofs,
    reserve_proofs_already_reserved,
    reserve_proofs_is_atomic,
];

#[tokio::test(start_paused = true)]
async fn latest_p2pk_with_keys() {
    let runtime = Runtime::anchored(Timestamp::from_secs(1_800_000_000));
    let store = Store::with_backend(CrashBackend::new().backend(), &runtime).await.unwrap();
    conformance::latest_p2pk_with_keys(WalletDb::new(store, runtime)).await;
}

fn mint(host: &str) -> MintUrl {
    format!("https://{host}.example").parse().unwrap()
}

fn keyset(byte: u8) -> Id {
    Id::from_bytes(&[0, byte, 0, 0, 0, 0, 0, 0]).unwrap()
}

fn proof(mint: &MintUrl, unit: CurrencyUnit, amount: u64, state: State) -> ProofInfo {
    let proof = Proof::new(Amount::from(amount), keyset(1), Secret::generate(), SecretKey::generate().public_key());
    ProofInfo::new(proof, mint.clone(), state, unit).unwrap()
}

fn play() -> CurrencyUnit {
    CurrencyUnit::Custom("play".into())
}

#[tokio::test]
async fn a_locked_proof_comes_back_whole() {
    let db = database().await;
    let mut locked =
        Proof::new(Amount::from(8), keyset(1), LOCKED.parse().unwrap(), SecretKey::generate().public_key());
    locked.dleq = Some(ProofDleq::new(SecretKey::generate(), SecretKey::generate(), SecretKey::generate()));
    locked.sign_p2pk(SecretKey::generate()).unwrap();
    locked.p2pk_e = Some(SecretKey::generate().public_key());
    let mut info = ProofInfo::new_with_operations(
        locked,
        "p2p://mint/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq".parse().unwrap(),
        State::PendingSpent,
        play(),
        Some(Uuid::from_u128(1)),
        Some(Uuid::from_u128(2)),
    )
    .unwrap();
    info.derivation_index = Some(7);
    assert!(info.spending_condition.is_some());
    db.update_proofs(vec![info.clone()], vec![]).await.unwrap();
    let found = db.get_proofs_by_ys(vec![info.y]).await.unwrap();
    assert_eq!(found, [info.clone()]);
    assert_eq!(found[0].proof.secret.to_string(), LOCKED);
    let conditions = info.spending_condition.clone().map(|condition| vec![condition]);
    assert_eq!(db.get_proofs(None, None, None, conditions).await.unwrap(), [info]);
}

#[tokio::test]
async fn a_mint_quote_keeps_its_secret_key_out_of_errors_and_in_the_file() {
    let db = database().await;
    let key = SecretKey::generate();
    let mut quote = MintQuote::new(
        "q".to_owned(),
        mint("a"),
        PaymentMethod::BOLT11,
        Some(Amount::from(5)),
        play(),
        "lnbc".to_owned(),
        9,
        Some(key.clone()),
    );
    quote.amount_paid = Amount::from(5);
    db.add_mint_quote(quote.clone()).await.unwrap();
    assert_eq!(db.get_mint_quote("q").await.unwrap(), Some(quote));
    const WRONG: Table<u64> = Table::new("wallet/cdk/quotes/mint");
    let error = db.store.read(|r| r.get(WRONG, Key::of("q"))).unwrap_err();
    assert!(!format!("{error:?} {error}").contains(&key.to_secret_hex()));
}

#[tokio::test]
async fn lists_and_balances_agree_under_every_filter() {
    let db = database().await;
    let (a, b) = (mint("a"), mint("b"));
    let mut all = Vec::new();
    for (n, url) in [&a, &b, &a, &b].into_iter().enumerate() {
        for (m, state) in [State::Unspent, State::Reserved, State::Spent].into_iter().enumerate() {
            let unit = if n < 2 { CurrencyUnit::Sat } else { play() };
            all.push(proof(url, unit, 1 << (n * 3 + m), state));
        }
    }
    db.update_proofs(all.clone(), vec![]).await.unwrap();
    for url in [None, Some(a), Some(b), Some(mint("c"))] {
        for unit in [None, Some(CurrencyUnit::Sat), Some(play()), Some(CurrencyUnit::Msat)] {
            for states in [None, Some(vec![]), Some(vec![State::Spent, State::Unspent, State::Spent])] {
                let expected: u64 = all
                    .iter()
                    .filter(|proof| proof.matches_conditions(&url, &unit, &states, &None))
                    .map(|proof| u64::from(proof.proof.amount))
                    .sum();
                let listed = db.get_proofs(url.clone(), unit.clone(), states.clone(), None).await.unwrap();
                let listed: u64 = listed.iter().map(|proof| u64::from(proof.proof.amount)).sum();
                let balance = db.get_balance(url.clone(), unit.clone(), states.clone()).await.unwrap();
                assert_eq!((listed, balance), (expected, expected), "{url:?} {unit:?} {states:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_index_follows_every_change() {
    let db = database().await;
    let (old, new) = (mint("old"), mint("new"));
    let info = proof(&old, play(), 4, State::Unspent);
    let y = info.y;
    let places = || {
        let states = proofs::states(None);
        db.store
            .read(|r| {
                Ok((
                    proofs::list(r, None, None, &states)?.len(),
                    proofs::list(r, Some(&old), None, &states)?.len(),
                    proofs::list(r, Some(&new), None, &states)?.len(),
                    proofs::list(r, Some(&new), Some(&play()), &[State::Reserved])?.len(),
                ))
            })
            .unwrap()
    };
    db.update_proofs(vec![info], vec![]).await.unwrap();
    assert_eq!(places(), (1, 1, 0, 0));
    db.update_mint_url(old.clone(), new.clone()).await.unwrap();
    assert_eq!(places(), (1, 0, 1, 0));
    db.reserve_proofs(vec![y], &Uuid::from_u128(1)).await.unwrap();
    assert_eq!(places(), (1, 0, 1, 1));
    db.release_proofs(&Uuid::from_u128(2)).await.unwrap();
    assert_eq!(places(), (1, 0, 1, 1));
    db.release_proofs(&Uuid::from_u128(1)).await.unwrap();
    assert_eq!(places(), (1, 0, 1, 0));
    db.update_proofs(vec![], vec![y, y]).await.unwrap();
    assert_eq!(places(), (0, 0, 0, 0));
    assert_eq!(db.get_balance(None, None, None).await.unwrap(), 0);
}

#[tokio::test]
async fn a_balance_that_overflows_is_an_error() {
    let db = database().await;
    let url = mint("a");
    let whole = u64::MAX;
    let all = vec![proof(&url, play(), whole, State::Unspent), proof(&url, play(), 1, State::Unspent)];
    db.update_proofs(all, vec![]).await.unwrap();
    assert!(matches!(db.get_balance(None, None, None).await, Err(Error::AmountOverflow)));
    assert!(matches!(db.get_balance(None, Some(play()), None).await, Err(Error::AmountOverflow)));
}

#[tokio::test]
async fn proofs_and_a_record_change_together_or_not_at_all() {
    const RECORDS: Table<u64> = Table::new("test/swaps");
    let disk = CrashBackend::new();
    let db = open(&disk).await;
    let mine = proof(&mint("a"), play(), 4, State::Unspent);
    let (y, strange) = (mine.y, SecretKey::generate().public_key());
    db.update_proofs(vec![mine], vec![]).await.unwrap();
    let swap = |ys: Vec<PublicKey>, id: u64| {
        let store = db.store.clone();
        async move {
            store
                .transact(move |w| {
                    w.put(RECORDS, Key::of(id), &id)?;
                    proofs::set_state(w, &ys, State::Pending)
                })
                .await
        }
    };
    assert!(matches!(swap(vec![y, strange], 1).await, Err(Error::ProofNotFound)));
    swap(vec![y], 2).await.unwrap();
    disk.crash();
    let db = open(&disk).await;
    let records = db.store.read(|r| r.range(RECORDS, KeyRange::all(), 9)).unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(db.get_proofs_by_ys(vec![y]).await.unwrap()[0].state, State::Pending);
}

#[tokio::test]
async fn a_proof_named_twice_is_not_reserved() {
    let db = database().await;
    let info = proof(&mint("a"), play(), 4, State::Unspent);
    let y = info.y;
    db.update_proofs(vec![info], vec![]).await.unwrap();
    assert!(matches!(db.reserve_proofs(vec![y, y], &Uuid::from_u128(1)).await, Err(Error::ProofNotUnspent)));
    assert_eq!(db.get_proofs_by_ys(vec![y]).await.unwrap()[0].state, State::Unspent);
}

#[tokio::test]
async fn a_mint_can_not_touch_the_keyset_of_another() {
    let db = database().await;
    let info =
        |fee: u64, unit| KeySetInfo { id: keyset(1), unit, active: true, input_fee_ppk: fee, final_expiry: None };
    db.add_mint_keysets(mint("a"), vec![info(100, play())]).await.unwrap();
    db.add_mint_keysets(mint("b"), vec![info(0, CurrencyUnit::Sat)]).await.unwrap();
    let found = db.get_keyset_by_id(&keyset(1)).await.unwrap().unwrap();
    assert_eq!((found.input_fee_ppk, found.unit), (100, play()));
    db.add_mint_keysets(mint("a"), vec![info(200, CurrencyUnit::Sat)]).await.unwrap();
    let found = db.get_mint_keysets(mint("a")).await.unwrap().unwrap();
    assert_eq!((found[0].input_fee_ppk, &found[0].unit), (200, &play()));
    db.update_mint_url(mint("a"), mint("c")).await.unwrap();
    assert_eq!(db.get_mint_keysets(mint("a")).await.unwrap(), None);
    assert_eq!(db.get_keyset_by_id(&keyset(1)).await.unwrap().unwrap().input_fee_ppk, 200);
}

#[tokio::test]
async fn an_operation_holds_a_quote_alone_until_it_lets_go() {
    let db = database().await;
    let quote =
        MintQuote::new("q".to_owned(), mint("a"), PaymentMethod::BOLT11, None, play(), "lnbc".to_owned(), 9, None);
    let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
    assert!(matches!(db.reserve_mint_quote("q", &first).await, Err(Error::UnknownQuote)));
    db.add_mint_quote(quote).await.unwrap();
    db.reserve_mint_quote("q", &first).await.unwrap();
    assert!(matches!(db.reserve_mint_quote("q", &second).await, Err(Error::QuoteAlreadyInUse)));
    db.release_mint_quote(&second).await.unwrap();
    assert!(matches!(db.reserve_mint_quote("q", &second).await, Err(Error::QuoteAlreadyInUse)));
    db.release_mint_quote(&first).await.unwrap();
    db.reserve_mint_quote("q", &second).await.unwrap();
    assert_eq!(db.get_unissued_mint_quotes().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_used_up_counter_stays_where_it_is() {
    let db = database().await;
    assert_eq!(db.increment_derivation_counter("n", u32::MAX).await.unwrap(), u32::MAX);
    assert!(db.increment_derivation_counter("n", 1).await.is_err());
    assert_eq!(db.increment_derivation_counter("n", 0).await.unwrap(), u32::MAX);
}
