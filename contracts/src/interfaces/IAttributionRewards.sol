// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ClaimRecord, Opening, Payout} from "./Types.sol";

/// @title From claims to balances
/// @notice The node proposes a payout list of contributors. After the review period the chain draws points of the list,
/// and the node shows each by a receipt that its payer countersigned. Then everything that a claim owes is credited in
/// one step, including the node's own share. Nobody is paid before the list is final.
interface IAttributionRewards {
    /// @notice Why an account is not paid. The numbers are in {WithdrawSkipped} and never change.
    enum SkipCode {
        None, // 0: it is paid; never emitted
        Empty, // 1: its balance is 0
        OnlySelf, // 2: the account wants to be paid by its own transactions only
        Dust, // 3: less than 0.001 OPEN, which only the account itself withdraws
        Untransferable // 4: the token refuses the recipient; the balance stays
    }

    /// @notice How far a claim has come. `FinalizedLate`: no list was proposed, or shown, in time.
    enum State {
        None,
        Proposed,
        Finalized,
        FinalizedLate
    }

    /// @notice The proposal for a claim. Of its payout list only the hash is stored. `drawBlock` is the block whose
    /// hash draws the points. `redraws` counts the draws that lapsed and have to be paid for, up to `redrawsMax`.
    struct Proposal {
        bytes32 receiptsRoot;
        bytes32 payoutsHash;
        uint64 readyAt;
        uint64 drawBlock;
        uint8 redraws;
        uint8 redrawsMax;
        State state;
    }

    /// @notice Σ gross of final claims = credited = paidOut + Σ balances.
    struct Totals {
        uint128 credited;
        uint128 paidOut;
    }

    /// @notice A payout list was proposed. The chain stores only its hash, and {finalize} asks for all of it.
    event Proposed(
        address indexed node,
        uint64 indexed seq,
        bytes32 receiptsRoot,
        Payout[] payouts,
        uint64 readyAt
    );
    /// @notice The hash of `drawBlock` draws the points that have to be shown.
    event Drawn(address indexed node, uint64 indexed seq, uint64 drawBlock);
    event Finalized(address indexed node, uint64 indexed seq, bool late);
    /// @param role 0 node, 1 owner of an adapter or of a Datanet (a claim's credits), 3 contributor, 4 treasury of a
    /// Datanet, 5 protocol.
    event Credited(address indexed account, address indexed node, uint64 seq, uint128 amount, uint8 role);
    event Withdrawn(address indexed account, address to, uint128 amount);
    event WithdrawSkipped(address indexed account, SkipCode code);
    event PayoutSet(address indexed account, address payout, bool onlySelf);

    error ZeroAddress();
    error UnknownClaim(address node, uint64 seq);
    error AlreadyProposed(address node, uint64 seq);
    error NotProposed(address node, uint64 seq, State state);
    /// @dev The propose window after `start` is over, or is not over yet.
    error ProposeOver(uint64 start);
    error NotOver(uint64 start);
    error NotReady(uint64 readyAt);
    error NotSigner(address node, address signer);
    error TooMany(string what, uint256 count, uint256 max);
    error UnknownPot(uint16 pot, uint256 pots);
    error PayoutsNotAscending(uint256 index);
    error ZeroWeight(uint256 index);
    error BadWeights(uint16 pot, uint256 sum, uint256 expected);
    error DrawStands(uint64 drawBlock);
    error NoDrawsLeft(uint8 max);
    error NoSeed(uint64 drawBlock);
    error WrongOpenings(uint256 count, uint256 expected);
    error PayoutsMismatch(bytes32 proposed, bytes32 given);
    /// @dev None of the accounts could be paid.
    error NobodyPaid();

    /// @notice Propose who gets the pots of a claim, once, within the propose window after the claim. Payouts ascend by
    /// (pot, account), and the weights of a listed pot sum to 1,000,000 · gross. `receiptsRoot` is the root of a
    /// {SumTree} of all receipts of the claim in the order of its line. Only an active signer of the node.
    function propose(ClaimRecord calldata record, bytes32 receiptsRoot, Payout[] calldata payouts) external;

    /// @notice Let the hash of the next block draw the points of the list, once the review period is over. The hash can
    /// be read for 256 blocks, and the node shows the points in that time. After `redrawBlocks` the draw has lapsed and
    /// can be repeated, as long as the node's share covers the lapse fee for each. Only an active
    /// signer of the node, since anybody else would draw while it is offline.
    function draw(address node, uint64 seq) external;

    /// @notice Credit everybody. `openings` show the drawn points in their order, without those of {NOBODY} and of pots
    /// that are not listed. A claim without money in pots, or with an empty list, needs no draw. A payout is
    /// `pot.amount · weight / (1,000,000 · pot.gross)`, rounded down. The rest of a pot goes to its Datanet's treasury.
    /// The part of {NOBODY}, and a pot that is not listed at all, go to the protocol. So do the lapse fees, and of what is
    /// left of the node's share a tenth of the part of all pots that nobody gets.
    function finalize(ClaimRecord calldata record, Payout[] calldata payouts, Opening[] calldata openings) external;

    /// @notice Finalize a claim whose node missed a deadline. Its pots go to the protocol. If nothing was proposed in
    /// the propose window after the claim, so do 10 % of the node's share. If a list was proposed, and was not final in
    /// the propose window after the review period, so do the lapse fees: half of all pots for each draw, and one if
    /// there was none.
    function finalizeLate(ClaimRecord calldata record) external;

    /// @notice Set where the caller's balance is paid to, 0 for the caller itself, and whether nobody else may have it
    /// paid.
    function setPayout(address payout, bool onlySelf) external;

    /// @notice Pay the whole balance of each account to its payout address. Anybody may call it, so a contributor needs
    /// no coins for gas. An account that cannot be paid is skipped.
    function withdraw(address[] calldata accounts) external;

    /// @notice What an account can withdraw.
    function balanceOf(address account) external view returns (uint128);

    /// @notice Where an account's balance is paid to, and whether only the account itself may have it paid.
    function payoutOf(address account) external view returns (address payout, bool onlySelf);

    /// @notice The proposal for a claim; all values are 0 if there is none.
    function proposalOf(address node, uint64 seq) external view returns (Proposal memory);

    /// @notice Sums over all claims, from which anybody can check the contract's balance.
    function totals() external view returns (Totals memory);
}
