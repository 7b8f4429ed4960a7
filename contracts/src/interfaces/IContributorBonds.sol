// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @notice The bond of one account at one Datanet. `leaving` is the part of `held` that its account can take back from
/// `readyAt` on. `deciders` is the hash of those who can forfeit it.
struct ContributorBond {
    uint128 held;
    uint128 leaving;
    uint64 readyAt;
    bytes32 deciders;
}

/// @notice A batch that an account has signed: its EIP-712 statement OfferRows(bytes32 datanetId,address account,string
/// licence,string consent,uint32 rows,bytes32 rowsRoot), with the hashes of both texts.
struct SignedBatch {
    bytes32 licenceHash;
    bytes32 consentHash;
    uint32 rows;
    bytes32 rowsRoot;
    bytes signature;
}

/// @title Bonds of contributors to Datanets
/// @notice A bond stays its account's own money. The Datanet's owner, or its curators where it has some, can forfeit it
/// for a batch that the account has signed. What is forfeited goes to the protocol's treasury, so nobody earns by a
/// rejection. A Datanet's least bond is a part of its description, and no rule of this contract.
interface IContributorBonds {
    event BondPosted(
        bytes32 indexed id, address indexed account, address poster, uint128 amount, bytes32 deciders
    );
    event BondLeaving(bytes32 indexed id, address indexed account, uint128 leaving, uint64 readyAt);
    event BondTakenBack(bytes32 indexed id, address indexed account, uint128 amount);
    event BondForfeited(
        bytes32 indexed id, address indexed account, bytes32 indexed rowsRoot, uint128 amount, bytes32 reason
    );

    error ZeroBondTreasury();
    error ZeroAccount();
    error ZeroAmount();
    /// @dev The Datanet has other deciders than the caller, or the bond's own account, has agreed to.
    error OtherDeciders(bytes32 id, bytes32 agreed, bytes32 current);
    error NotSoMuchHeld(uint128 asked, uint128 held);
    error NothingLeaving(bytes32 id, address account);
    error StillLeaving(uint64 readyAt);
    error NoContributorBond(bytes32 id, address account);
    error NotSignedBy(address account, address signer);
    error ForfeitedBefore(bytes32 id, address account, bytes32 rowsRoot);
    error NotBondDecider(bytes32 id, address caller);
    error MissingApprovals(uint32 need, uint256 approvals);

    /// @notice Post `amount` for an account; the money becomes the account's. `deciders` is what {decidersOf} gave when
    /// the caller agreed to it, so no change of owner or curators slips in between. A post by the account itself puts its
    /// whole bond under these deciders, and an account with a bond can post 0 to do only that. A post by somebody else
    /// never changes the deciders of a bond.
    function postBond(bytes32 id, address account, uint128 amount, bytes32 deciders) external;

    /// @notice The same, with the caller's permit for the token.
    function postBondWithPermit(
        bytes32 id,
        address account,
        uint128 amount,
        bytes32 deciders,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice Announce that the caller will take back `amount` of their bond after UNBONDING. It replaces an earlier
    /// announcement, and 0 cancels it. What is leaving can still be forfeited, and covers no new batch.
    function startTakeBack(bytes32 id, uint128 amount) external;

    /// @notice Pay to the caller what they have announced, once UNBONDING is over.
    function takeBackBond(bytes32 id) external returns (uint128 amount);

    /// @notice Forfeit at most `amountMax` of an account's bond for a batch that it has signed, once for each batch.
    /// Callable by the Datanet's owner, and only while the deciders are those to whom the account agreed. With curators
    /// it takes the signatures of as many as a version needs, ascending by signer, over ForfeitBond(bytes32
    /// datanetId,address account,bytes32 rowsRoot,uint128 amountMax,bytes32 reason). `reason` is the hash of a text.
    function forfeitBond(
        bytes32 id,
        address account,
        SignedBatch calldata batch,
        uint128 amountMax,
        bytes32 reason,
        bytes[] calldata approvals
    ) external returns (uint128 amount);

    /// @notice An account's bond at a Datanet; zeros if there is none.
    function bondOf(bytes32 id, address account) external view returns (ContributorBond memory);

    /// @notice The hash of those who can forfeit bonds now: keccak256(abi.encode(owner, curators, need)).
    function decidersOf(bytes32 id) external view returns (bytes32);

    /// @notice The token in which bonds are posted.
    function token() external view returns (IERC20);

    /// @notice The account that gets what is forfeited.
    function protocolTreasury() external view returns (address);

    /// @notice Sums over all bonds, ever. The contract holds what was posted less the other two.
    function bondTotals() external view returns (uint128 posted, uint128 takenBack, uint128 forfeited);
}
